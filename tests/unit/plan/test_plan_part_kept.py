"""What `--only` leaves as it is keeps what it has, also where the file knows nothing of it any more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from itertools import combinations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planning import RUN, addresses, read, subnets
from random_files import change, random_file, read_file

from netfab.errors import NetfabError
from netfab.objects.address import Address
from netfab.objects.base import HOST, Fabric
from netfab.plan.facts import Facts
from netfab.plan.leases import Lease
from netfab.plan.part import leases_within, nodes_of, part_of, summary_within, within
from netfab.plan.part_kept import NOTHING, Summary, beside, beside_absent, taken
from netfab.plan.planner import Plan, plan, summary
from netfab.plan.subnets import Reservation
from netfab.topology.schema import Topology

FILE = """
    name: lab
    networks: {lan: {}}
    nodes:
      db: {networks: [lan], loopback: true}
      web: {networks: [lan]}
"""


def part(topology: Topology, leases: frozenset[Lease], there: Summary, *only: str) -> Plan:
    """As an apply plans it. Raises NetfabError."""
    whole = plan(topology, leases, Facts(), RUN)
    nodes = nodes_of(topology, only, there["nodes"])
    facts = beside(Facts(), whole.layout, leases, nodes, there)
    found = part_of(topology, plan(topology, leases, facts, RUN), only, there["nodes"])
    for error in taken(topology, found, there):
        raise error
    return found


def after(before: str, text: str, *only: str) -> Plan:
    """The part of the second file, where the first one is applied."""
    applied = plan(read(before), (), Facts(), RUN)
    return part(read(text), applied.claims, summary(read(before), applied), *only)


def test_the_address_of_a_node_that_is_gone_from_the_file_is_given_to_no_other() -> None:
    found = after(FILE, FILE.replace("db:", "new:"), "new")

    assert addresses(found, "new")[0] == "eth0 10.0.0.4/24"  # db has .2, and web .3


def absent(text: str, *hosts: str) -> Facts:
    """Of a host, where FILE was applied, for a plan of another file that these hosts do not hear of."""
    leases = {*plan(read(FILE), (), Facts(), RUN).claims, Lease("vni", "old", "7")}
    topology = read(text)
    layout = plan(topology, frozenset(leases), Facts(), RUN).layout
    return beside_absent(Facts(), layout, leases, topology.nodes.keys(), hosts)


def test_what_was_leased_stays_so_while_hosts_do_not_hear_of_a_plan() -> None:
    found = absent(FILE.replace("db:", "new:"), "h2", "h3")

    (held,) = (of_bridge for bridge, of_bridge in found.held.items() if bridge == "br-lan")
    assert {str(address): holder for address, holder in held.items()} == {
        "10.0.0.2": "the lease of db, which stays while h2, h3 are neither reached nor forgotten"
    }
    assert found.vnis == ((7, "network old, which h2, h3 may still have"),)


def test_a_subnet_of_a_network_that_is_gone_is_no_others_while_a_host_does_not_hear_of_it() -> None:
    found = absent("{name: lab, networks: {new: {}}, nodes: {web: {networks: [new]}}}", "h2")

    assert Reservation(ip_network("10.0.0.0/24"), "leased for lan") in found.reservations


def test_nor_is_its_loopback() -> None:
    found = after(FILE, FILE.replace("db:", "new:"), "new")

    assert [str(address) for address in found.layout.loopbacks["new"]] == ["10.0.1.2"]


def test_nor_its_published_port() -> None:
    file = FILE.replace("loopback: true", "publish: ['5432:5432']")

    with pytest.raises(NetfabError, match=r"port tcp/\*/5432 is published by node db, which --only leaves"):
        after(file, file.replace("db:", "new:").replace("'5432:5432'", "'127.0.0.1:5432:1'"), "new")


def test_nor_the_subnet_of_a_network_or_the_prefix_of_a_link_that_is_gone() -> None:
    linked = "    links: [[db, web]]"
    changed = FILE.replace("lan", "new").replace("db:", "a:").replace("web:", "b:")

    found = after(FILE + linked, changed + linked.replace("db", "a").replace("web", "b"), "a", "b")

    before = subnets(plan(read(FILE + linked), (), Facts(), RUN))
    assert not set(before.values()) & set(subnets(found).values())


def test_an_address_that_another_is_to_give_up_is_refused_unless_it_does_so_now() -> None:
    file = FILE.replace("lan: {}", "lan: {subnet: 10.1.0.0/24}").replace("[lan]", "{lan: {ip: 10.1.0.5}}", 1)
    changed = file.replace("10.1.0.5", "10.1.0.6").replace("[lan]", "{lan: {ip: 10.1.0.5}}")

    with pytest.raises(
        NetfabError, match=r"10\.1\.0\.5, for node web, is held by node db, which --only leaves"
    ):
        after(file, changed, "web")
    assert addresses(after(file, changed, "web", "db"), "web") == ["eth0 10.1.0.5/24"]


def test_a_bridge_that_another_network_has_is_refused() -> None:
    file = FILE.replace("lan: {}", "lan: {bridge: br0}")

    with pytest.raises(NetfabError, match="the bridge br0 is network lan's, which --only leaves as it is"):
        after(file, file.replace("lan", "new").replace("web:", "client:"), "client")


@given(st.integers(0, 2**32).map(Random))
@settings(max_examples=15)
def test_no_two_have_one_address_however_the_file_changes_between_parts(chance: Random) -> None:
    fabric, there, leases = Fabric("lab"), NOTHING, frozenset[Lease]()
    for _ in range(5):
        topology = read_file(change(chance, random_file(chance)))
        only = chance.sample(sorted(topology.nodes), chance.randint(1, len(topology.nodes)))
        try:
            found = part(topology, leases, there, *only)
            fabric = within(found, fabric)
        except NetfabError:  # refused, and so nothing changed
            continue
        there = summary_within(found, summary(topology, found), there)
        leases = leases_within(found, leases)

        assert twice(fabric) == []


def twice(fabric: Fabric) -> list[str]:
    """Addresses of a fabric that two interfaces have, and the host's subnets that overlap."""
    held = [
        thing for thing in fabric.values() if isinstance(thing, Address) and not thing.address.is_link_local
    ]
    return [*_same(held), *_overlapping(thing for thing in held if thing.link.space == HOST)]


def _same(held: Iterable[Address]) -> Iterator[str]:
    seen: dict[object, Address] = {}
    for thing in held:
        if seen.setdefault(thing.address, thing) is not thing:
            yield f"{thing} and {seen[thing.address]}"


def _overlapping(held: Iterable[Address]) -> Iterator[str]:
    for one, other in combinations(held, 2):
        prefixes = [ip_network((str(each.address), each.length), strict=False) for each in (one, other)]
        if prefixes[0].version == prefixes[1].version and prefixes[0].overlaps(prefixes[1]):
            yield f"{one} and {other}"
