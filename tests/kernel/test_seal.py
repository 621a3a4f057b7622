"""The seal of an apply: it says that nothing is to be done only where that is so, and is never missed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from shop import TEXT, topology

from netfab import fabric
from netfab.applying import seal
from netfab.applying.seal import unchanged
from netfab.plan.leases import Lease
from netfab.where import HERE, opened_store


def applied(directory: Path, text: str = TEXT, name: str = "shop") -> str:
    """The file of a fabric that was just applied."""
    wanted, file = topology(directory, name, text)
    fabric.apply(wanted, file)
    return file


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


def bridge() -> str:
    """The only bridge of this host."""
    return str(fabric.bridges(HERE)[0]["bridge"])


DAMAGE: dict[str, Callable[[], object]] = {
    "a link is down": lambda: run("ip", "-n", "shop.web", "link", "set", "eth0", "down"),
    "an address is gone": lambda: run("ip", "-n", "shop.db", "address", "flush", "dev", "eth0"),
    "a route is gone": lambda: run("ip", "-n", "shop.db", "route", "del", "default"),
    "a bridge has STP": lambda: run("ip", "link", "set", bridge(), "type", "bridge", "stp_state", "1"),
    "a sysctl is another": lambda: run(
        "ip", "netns", "exec", "shop.web", "sysctl", "-w", "net.ipv4.ip_default_ttl=8"
    ),
    "a namespace is gone": lambda: run("ip", "netns", "delete", "shop.web"),
    "the firewall is gone": lambda: run("nft", "flush", "ruleset"),
    "a hosts file is another": lambda: [
        path.write_text("") for path in Path(HERE.run, "shop", "etc").glob("hosts*")
    ],
}


def test_a_second_apply_finds_its_seal(tmp_path: Path) -> None:
    file = applied(tmp_path)

    assert unchanged(file, None, HERE) == []


def test_a_bridge_in_a_node_in_which_timers_run_breaks_no_seal(tmp_path: Path) -> None:
    file = applied(tmp_path)
    run("ip", "-n", "shop.web", "link", "add", "br0", "up", "type", "bridge")
    fabric.apply(fabric.load(file), file)

    assert [unchanged(file, None, HERE) for _ in range(3)] == [[]] * 3


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_no_seal_holds_where_the_host_is_not_as_it_was_left(
    tmp_path: Path, damage: Callable[[], object]
) -> None:
    file = applied(tmp_path)

    damage()

    assert unchanged(file, None, HERE) is None
    assert fabric.apply(fabric.load(file), file)[1].changes


def test_no_seal_holds_where_a_chain_of_others_drops_what_is_forwarded(tmp_path: Path) -> None:
    file = applied(tmp_path)

    run("nft", "table ip ufw { chain FORWARD { type filter hook forward priority 0; policy drop; }; }")

    assert unchanged(file, None, HERE) is None


def test_no_seal_holds_for_a_file_that_was_written_to(tmp_path: Path) -> None:
    file = applied(tmp_path)

    with open(file, "a") as opened:
        opened.write("\n")

    assert unchanged(file, None, HERE) is None


def test_no_seal_holds_where_another_fabric_holds_something_new(tmp_path: Path) -> None:
    file = applied(tmp_path)

    with opened_store(HERE) as store:
        store.claim("other", {Lease("subnet", "lan/4", "192.0.2.0/24")})
    new = unchanged(file, None, HERE)
    fabric.apply(fabric.load(file), file)

    assert (new, unchanged(file, None, HERE)) == (None, [])


def test_no_seal_holds_where_a_new_route_is_in_the_way_of_planning(tmp_path: Path) -> None:
    run("ip", "link", "add", "vpn0", "up", "type", "veth", "peer", "name", "far")
    file = applied(tmp_path)

    run("ip", "route", "add", "192.0.2.0/24", "dev", "vpn0")

    assert unchanged(file, None, HERE) is None


@pytest.mark.parametrize(
    "text",
    [
        TEXT.replace('"9"', '"${TTL}"'),
        TEXT.replace("db: {", "db: {files: {/etc/motd: {source: ./motd}}, command: [sleep, inf], "),
        TEXT.replace("db: {", "db: {ready: tcp/80, command: [sleep, inf], "),
        TEXT.partition("links")[0].replace("db: {", "db: {attach: 'netns:guest', "),
        TEXT.replace("[web, db]", "[web, 'macvlan:nic0']"),
    ],
    ids=["variables", "other files", "readiness", "guests", "NICs"],
)
def test_what_does_not_follow_from_the_file_alone_is_not_sealed(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTL", "9")
    (tmp_path / "motd").write_text("hello")
    wanted, _ = topology(tmp_path, text=text)

    assert wanted.origin == ""


def test_a_warning_is_told_again_by_an_apply_that_changes_nothing(tmp_path: Path) -> None:
    file = applied(tmp_path, TEXT.replace("lan: {}", "lan: {subnet: 198.51.100.0/24}"))
    run("ip", "link", "add", "vpn0", "up", "type", "veth", "peer", "name", "far")
    run("ip", "route", "add", "198.51.0.0/16", "dev", "vpn0")

    warnings = fabric.apply(fabric.load(file), file)[0].warnings

    assert ["198.51.100.0/24" in warning for warning in warnings] == [True]
    assert unchanged(file, None, HERE) == list(warnings)


def test_a_netfab_in_an_archive_applies_and_finds_no_seal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netfab.pyz").touch()
    monkeypatch.setattr(seal, "__file__", str(tmp_path / "netfab.pyz/netfab/applying/seal.py"))

    file = applied(tmp_path)

    assert unchanged(file, None, HERE) is None


def test_destroy_leaves_nothing_of_a_seal(tmp_path: Path) -> None:
    applied(tmp_path)

    fabric.destroy("shop")

    assert not os.path.exists(HERE.run)


def test_a_seal_that_was_cut_short_is_none(tmp_path: Path) -> None:
    file = applied(tmp_path)
    Path(HERE.run, "shop", "seal.json").write_text('["12')

    assert unchanged(file, None, HERE) is None


def test_a_seal_is_for_its_owners_eyes_only(tmp_path: Path) -> None:
    applied(tmp_path)

    assert os.stat(f"{HERE.run}/shop/seal.json").st_mode & 0o777 == 0o600
