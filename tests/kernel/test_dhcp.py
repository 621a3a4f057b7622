"""Interfaces whose address a server gives: real clients, a real dnsmasq."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from dhcp_servers import serving
from machine import differences, snapshot
from own_children import own_children

from netfab import fabric
from netfab.errors import Interrupted, NetfabError, Unsupported
from netfab.facts import guests
from netfab.guests import dhcp
from netfab.imperative import adhoc
from netfab.where import HERE

CLIENTS = ("udhcpc", "dhclient", "dhcpcd")


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def attach(guest: str, *words: str) -> adhoc.Outcome:
    return adhoc.attach(
        adhoc.request_of(
            "br7",
            guest,
            words,
        )
    )


@pytest.fixture
def blue() -> str:
    """A guest with a default route of its own."""
    ip("netns", "add", "blue")
    ip("-n", "blue", "link", "set", "lo", "up")
    ip("-n", "blue", "route", "add", "default", "via", "127.0.0.9", "dev", "lo")
    return "netns:blue"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Path]:
    """A DHCP server on br7; its leases file."""
    ip("netns", "add", "server")
    attach("netns:server", "10.7.0.1/24")
    leases = tmp_path / "leases"
    with serving("server", leases, "10.7.0.100", "10.7.0.120") as process:
        try:
            yield leases
        finally:
            process.kill()


def addresses() -> list[str]:
    """IPv4, of the guest's eth1."""
    (found,) = json.loads(ip("-n", "blue", "-j", "-4", "address", "show", "eth1"))
    return [one["local"] for one in found.get("addr_info", [])]


def is_given_back(address: str, leases: Path) -> bool:
    """Whether the server hears of it, before long."""
    deadline = monotonic() + 60
    while address in leases.read_text():
        if monotonic() > deadline:
            return False
        select.select([], [], [], 0.01)
    return True


def default_routes() -> list[str]:
    return [line.split()[2] for line in ip("-n", "blue", "route", "show", "default").splitlines()]


def client() -> dhcp.Client:
    (found,) = dhcp.read("/run/netfab/adhoc/dhcp")
    return found


def kept(state: dict[str, frozenset[object]]) -> dict[str, frozenset[object]]:
    return state | {"/var/lib/netfab": frozenset()}


@pytest.mark.parametrize("program", CLIENTS)
def test_a_lease_is_there_when_attach_returns_and_given_back_by_detach(
    blue: str, server: Path, program: str
) -> None:
    before = kept(snapshot())

    attach(blue, program)
    (address,) = addresses()
    leased, ways = server.read_text(), default_routes()
    adhoc.detach("br7", blue)

    assert address in leased
    assert ways == ["10.7.0.1", "127.0.0.9"]
    assert is_given_back(address, server)
    assert default_routes() == ["127.0.0.9"]
    assert differences(before, kept(snapshot())) == []


def test_a_client_that_is_not_wanted_any_more_before_it_began_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = dhcp.Wanted("key", "eth1", "dhcp", (), "", False, (("node blue", "eth1"),))
    monkeypatch.setattr(dhcp, "_become", lambda *_: signal.pause())
    home, before = os.open("/proc/self/ns/net", os.O_RDONLY), own_children()

    def interrupted() -> None:
        raise Interrupted(signal.SIGINT)

    with pytest.raises(Interrupted):
        dhcp.start(str(tmp_path / "dhcp"), wanted, home, interrupted)

    os.close(home)
    assert own_children() <= before
    assert not (tmp_path / "dhcp").exists()


def test_any_client_will_do_and_the_same_again_changes_nothing(blue: str, server: Path) -> None:
    attach(blue, "dhcp")
    before = client()

    assert attach(blue, "dhcp").changes == ()
    assert client() == before


def test_the_address_that_a_server_gave_is_told_until_the_guest_is_gone(blue: str, server: Path) -> None:
    attach(blue, "dhcp")
    told = guests.address_in_guest(blue, "eth1", HERE)
    given = addresses()
    ip("netns", "del", "blue")

    assert [told] == given
    assert guests.address_in_guest(blue, "eth1", HERE) == ""


def test_a_client_that_was_killed_is_drift_and_started_again(blue: str, server: Path) -> None:
    attach(blue, "dhcp")
    pid = client().pid
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)  # it is this process's own child

    drift = fabric.drift("adhoc")
    adhoc.reconcile("adhoc")

    assert [str(change.after) for change in drift] == ["dhcp client of eth1 of netns:blue"]
    assert client().lives


def test_without_a_server_nothing_is_left(blue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = kept(snapshot())
    monkeypatch.setattr(dhcp, "PATIENCE", 0.5)

    with pytest.raises(NetfabError, match="no DHCP server offered a lease"):
        attach(blue, "udhcpc")

    assert differences(before, kept(snapshot())) == []
    assert adhoc.attachments() == []


def test_without_a_client_it_is_refused_by_name(blue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dhcp, "_PROGRAMS", {"udhcpc": (("/nowhere/udhcpc",),)})

    with pytest.raises(Unsupported, match="no DHCP client is installed"):
        attach(blue, "dhcp")


def test_options_reach_the_client(blue: str, server: Path) -> None:
    attach(blue, "udhcpc:-V nine")

    assert b"-V\0nine\0" in Path(f"/proc/{client().pid}/cmdline").read_bytes()


def test_a_client_sees_nothing_of_the_hosts_own_leases(blue: str, server: Path) -> None:
    attach(blue, "dhcp")
    root = f"/proc/{client().pid}/root"

    assert os.stat(f"{root}{os.path.realpath('/etc/resolv.conf')}").st_rdev == os.stat("/dev/null").st_rdev
    assert os.listdir(f"{root}/run") == ["netfab"]


def test_a_node_of_a_topology_takes_a_lease(server: Path, tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(
        "name: shop\nnetworks: {lan: {bridge: br7, external: true, subnet: none}}\n"
        "nodes: {web: {networks: {lan: {ip: dhcp}}}}\n"
    )

    fabric.apply(fabric.load(str(file)), str(file))
    shown: Any = json.loads(ip("-n", "shop.web", "-j", "-4", "address", "show", "eth0"))
    fabric.destroy("shop")

    assert shown[0]["addr_info"][0]["local"].startswith("10.7.0.1")
    assert is_given_back("10.7.0.1", server)
