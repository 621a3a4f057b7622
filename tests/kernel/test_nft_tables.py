"""The fabric's tables in the kernel: what others did to them is mended, what nft does to us is survived."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from errno import EMFILE, EPROTONOSUPPORT
from ipaddress import ip_address
from pathlib import Path

import pytest
from descriptors import descriptors, settled_descriptors
from own_children import own_children
from small_lab import FABRIC, Lab, listed

from netfab.engine.apply import apply
from netfab.engine.diff import Change, diff, order
from netfab.errors import KernelRefused, NetfabError, Unsupported
from netfab.hosts.local import LocalHost
from netfab.kernel import nft
from netfab.kernel.drops import Drop, legacy_drops, nft_drops
from netfab.objects.address import Address
from netfab.objects.base import Fabric, Name
from netfab.objects.firewall import MARK, Firewall


@pytest.fixture
def lab(host: LocalHost) -> Lab:
    return Lab(host)


@pytest.fixture
def two_networks(lab: Lab) -> Lab:
    lab.two_networks()
    return lab


DAMAGE = {
    "everything flushed": "flush ruleset",
    "a table deleted": "delete table bridge netfab-shop",
    "rules flushed": "flush table inet netfab-shop",
    "a policy changed": "add chain inet netfab-shop forward { policy drop; }",
    "a rule added": "insert rule inet netfab-shop enter accept",
    "a rule replaced": "replace rule inet netfab-shop enter handle HANDLE accept",
    "a rule deleted": "delete rule inet netfab-shop enter handle HANDLE",
    "an element removed": "delete element bridge netfab-shop guarded { nfa }",
    "an element added": "add element inet netfab-shop open { eth0 }",
    "a prefix added": "add element bridge netfab-shop routed4 { nfa . 0.0.0.0/0 }",
    "an element changed": (
        "delete element inet netfab-shop leaving { br-a };"
        "add element inet netfab-shop leaving { br-a : accept }"
    ),
    "a set added": "add set inet netfab-shop more { type ifname; elements = { a } }",
    "a catch-all added": "add element inet netfab-shop leaving { * : accept }",
    "a table switched off": "add table inet netfab-shop { flags dormant; }",
}


@pytest.mark.parametrize("command", DAMAGE.values(), ids=DAMAGE.keys())
def test_what_others_did_to_a_table_is_seen_and_mended(two_networks: Lab, command: str) -> None:
    two_networks.publish("br-a", "10.0.1.2", 8080)
    fabric = two_networks.apply()
    handle = next(
        item["rule"]["handle"] for item in listed("inet") if item.get("rule", {}).get("chain") == "enter"
    )
    subprocess.run([nft.program(), command.replace("HANDLE", str(handle))], check=True)

    changes = diff(fabric, two_networks.host.observe(FABRIC, [fabric]).own)
    apply(fabric, two_networks.host)

    assert {str(change.object).split()[0] for change in changes} == {"firewall"}
    assert diff(fabric, two_networks.host.observe(FABRIC, [fabric]).own) == []


def test_a_change_that_fails_puts_back_the_tables_that_were_there(two_networks: Lab) -> None:
    two_networks.apply()
    subprocess.run([nft.program(), "add rule inet netfab-shop enter accept"], check=True)
    two_networks.publish("br-a", "10.0.1.2", 8080)
    fabric = two_networks.fabric()
    before = two_networks.host.observe(FABRIC).own
    impossible = Address(Name("host", "no-such-link"), ip_address("10.0.3.1"), 24)

    with pytest.raises(NetfabError):
        apply(Fabric(FABRIC, [*fabric.values(), impossible]), two_networks.host)

    assert two_networks.host.observe(FABRIC).own == before


def test_what_others_do_to_a_table_while_an_apply_goes_on_is_not_overlooked(
    two_networks: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = two_networks.host.run

    def run_and_damage(phase: Sequence[Change]) -> list[Exception | None]:
        failures = run(phase)
        if any(isinstance(change.after, Firewall) for change in phase):
            subprocess.run([nft.program(), "delete table bridge netfab-shop"], check=True)
        return failures

    monkeypatch.setattr(two_networks.host, "run", run_and_damage)

    with pytest.raises(NetfabError):
        two_networks.apply()


def test_tables_are_listed_as_soon_as_they_are_made_and_not_again(
    two_networks: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    fabric, host = two_networks.fabric(), two_networks.host
    for phase in order(diff(fabric, host.observe(FABRIC, [fabric]).own)):
        host.run(phase)
    monkeypatch.setattr(nft, "PROGRAMS", ())

    own = host.observe(FABRIC, [fabric]).own

    assert _firewalls(own) == _firewalls(fabric)


def test_a_listing_that_can_begin_only_in_part_leaves_nothing(
    two_networks: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OneOnly(nft._Run):
        begun = list[str]()

        def __init__(self, path: str, arguments: tuple[str, ...]) -> None:
            if self.begun:
                raise OSError(EMFILE, "Too many open files")
            self.begun.append(path)
            super().__init__(path, arguments)

    two_networks.apply()
    monkeypatch.setattr(nft, "_Run", OneOnly)
    before, children = settled_descriptors(), own_children()

    with pytest.raises(OSError, match="Too many"):
        nft.Listing(FABRIC)

    assert OneOnly.begun
    assert descriptors() <= before
    assert own_children() <= children


def _firewalls(fabric: Fabric) -> list[Firewall]:
    return [thing for thing in fabric.values() if isinstance(thing, Firewall)]


def test_the_firewall_goes_with_the_fabric(two_networks: Lab) -> None:
    two_networks.apply()

    apply(Fabric(FABRIC), two_networks.host)

    assert nft.Listing(FABRIC).tables() == []


def test_without_nft_a_fabric_that_needs_no_firewall_works(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nft, "PROGRAMS", ())
    lab.network("br-a", "10.0.1.1/24")
    bare = Fabric(FABRIC, [thing for thing in lab.fabric().values() if not str(thing).startswith("firewall")])

    apply(bare, lab.host)

    assert lab.host.observe(FABRIC, [bare]).own == bare


def test_without_nft_a_firewall_is_refused_with_the_cure(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nft, "PROGRAMS", ())
    lab.network("br-a", "10.0.1.1/24")

    with pytest.raises(Unsupported) as refused:
        lab.apply()

    assert refused.value.hint == "install nftables"
    assert lab.host.observe(FABRIC).own == Fabric(FABRIC)


@pytest.fixture
def instead_of_nft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a shell script in its place, where there are tables to list."""

    def replace(script: str) -> None:
        made = "; ".join(
            f"add table {table}; add chain {table} {MARK}"
            for table in (f"inet netfab-{FABRIC}", f"bridge netfab-{FABRIC}")
        )
        subprocess.run([nft.program(), made], check=True)
        path = tmp_path / "nft"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(nft, "PROGRAMS", (str(path),))

    return replace


@pytest.mark.parametrize("answer", ['printf \'{"nftables": [{"table": {"flags": \\377\'', "kill -SEGV $$"])
def test_a_table_that_nft_can_t_print_is_there_and_is_not_what_we_want(
    host: LocalHost, instead_of_nft: Callable[[str], None], answer: str
) -> None:
    instead_of_nft(answer)

    found = host.observe(FABRIC).own

    assert list(found.values()) == [
        Firewall(family, "netfab-shop", dormant=True) for family in ("inet", "bridge")
    ]


def test_nft_is_not_started_where_there_is_no_table_of_ours(
    host: LocalHost, instead_of_nft: Callable[[str], None]
) -> None:
    instead_of_nft("exit 1")

    with LocalHost("other") as other:
        assert other.observe("other").own == {}


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many transactions each start of nft was given."""
    found: list[int] = []
    carried_out = nft.load

    def load(*transactions: str) -> None:
        found.append(len(transactions))
        carried_out(*transactions)

    for module in ("execute", "nft"):
        monkeypatch.setattr(f"netfab.kernel.{module}.load", load)
    return found


TABLES = Fabric(FABRIC, (Firewall(family, f"netfab-{FABRIC}") for family in ("inet", "bridge")))


def test_all_tables_are_made_by_one_start_of_nft_and_ended_without_it(
    host: LocalHost, loads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(TABLES, host)
    monkeypatch.setattr(nft, "PROGRAMS", ())

    apply(Fabric(FABRIC), host, back=lambda: TABLES)

    assert loads == [2]
    assert not nft.tables_there()


def test_a_table_that_is_gone_already_hinders_not_the_end_of_another(host: LocalHost) -> None:
    apply(TABLES, host)
    (phase,) = order(diff(Fabric(FABRIC), TABLES))
    subprocess.run([nft.program(), f"delete table bridge netfab-{FABRIC}"], check=True)

    assert host.run(phase) == [None, None]

    assert not nft.tables_there()


def test_tables_end_together_or_not_at_all(host: LocalHost) -> None:
    apply(TABLES, host)
    there = nft.tables_there()

    with pytest.raises(FileNotFoundError):
        nft.delete_tables(("inet", f"netfab-{FABRIC}"), ("bridge", "netfab-other"))

    assert nft.tables_there() == there


def test_a_table_that_is_refused_does_not_take_others_with_it(host: LocalHost, loads: list[int]) -> None:
    (phase,) = order(diff(TABLES, Fabric(FABRIC)))
    host.observe(FABRIC)
    subprocess.run([nft.program(), f"add table bridge netfab-{FABRIC}"], check=True)

    made, refused = host.run(phase)

    assert made is None
    assert "File exists" in str(refused)
    assert loads == [2, 1, 1]


def test_an_nft_that_hangs_is_ended_and_named(
    host: LocalHost, instead_of_nft: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    instead_of_nft("exec sleep 60")
    monkeypatch.setattr(nft, "TIMEOUT", 0.3)
    before = own_children()

    with pytest.raises(KernelRefused, match="nft gave no answer"):
        host.observe(FABRIC)

    assert own_children() <= before


def test_a_foreign_chain_that_drops_what_is_forwarded_is_found(lab: Lab) -> None:
    subprocess.run(
        [
            nft.program(),
            "add table ip filter; add chain ip filter DOCKER-USER;"
            "add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }",
        ],
        check=True,
    )

    assert list(nft_drops(nft.ruleset())) == [
        Drop("nft table ip filter", "FORWARD", "its policy is drop", docker_user=True)
    ]


def test_our_own_chains_and_an_empty_ruleset_are_no_foreign_drops(two_networks: Lab) -> None:
    assert list(nft_drops(nft.ruleset())) == []

    two_networks.apply()

    assert list(nft_drops(nft.ruleset())) == []


def has_legacy_tables() -> bool:
    """Whether the tables of iptables before nf_tables can be had here."""
    return os.path.exists("/usr/sbin/iptables-legacy") and os.access("/proc/net/ip_tables_names", os.R_OK)


@pytest.mark.skipif(not has_legacy_tables(), reason="no iptables-legacy, or a kernel without its tables")
def test_an_older_chain_that_drops_what_is_forwarded_stops_us_until_it_accepts(two_networks: Lab) -> None:
    iptables = "/usr/sbin/iptables-legacy"
    subprocess.run([iptables, "-P", "FORWARD", "DROP"], check=True)

    with pytest.raises(
        NetfabError, match="chain FORWARD of iptables-legacy table filter drops what"
    ) as caught:
        two_networks.apply()
    assert "add rules to iptables-legacy table filter that accept br-a, br-b" in caught.value.hint

    for bridge in ("br-a", "br-b"):
        for way in ("-i", "-o"):
            subprocess.run([iptables, "-I", "FORWARD", way, bridge, "-j", "ACCEPT"], check=True)
    two_networks.apply()


@pytest.mark.skipif(not has_legacy_tables(), reason="no iptables-legacy, or a kernel without its tables")
def test_older_tables_that_drop_nothing_stop_nobody(two_networks: Lab) -> None:
    subprocess.run(["/usr/sbin/ip6tables-legacy", "-P", "FORWARD", "ACCEPT"], check=True)

    assert list(legacy_drops()) == []


def test_a_kernel_without_nftables_has_no_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: int) -> None:
        raise OSError(EPROTONOSUPPORT, "Protocol not supported")

    monkeypatch.setattr(nft, "Netlink", refused)

    with nft.Listing(FABRIC) as listing:
        assert listing.tables() == []
