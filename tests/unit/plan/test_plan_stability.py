"""What holds for the plan of every file: nothing overlaps, and a change moves nothing but what it changes."""

from __future__ import annotations

from ipaddress import ip_network
from itertools import pairwise
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from planning import RUN
from random_files import change, random_file, read_file

from netfab.plan.facts import Facts
from netfab.plan.planner import Plan, plan
from netfab.plan.subnets import Reservation
from netfab.topology.schema import Address, Interface, NodeGateway, Prefix

FACTS = Facts(
    reservations=tuple(
        Reservation(ip_network(prefix), "somebody's")
        for prefix in ("10.0.1.0/24", "10.0.3.0/25", "10.0.8.0/21")
    ),
    machine="m",
)
seeds = st.integers(0, 2**32).map(Random)


def prefixes_of(found: Plan) -> list[Prefix]:
    return list(found.layout.prefixes.chosen.values())


def assert_apart(prefixes: list[Prefix]) -> None:
    for version in (4, 6):
        family = sorted(prefix for prefix in prefixes if prefix.version == version)
        for one, following in pairwise(family):
            assert not one.overlaps(following)


@given(seeds)
@settings(max_examples=60)
def test_planning_twice_is_equal_and_leases_change_nothing(chance: Random) -> None:
    file = random_file(chance)

    first = plan(read_file(file), (), FACTS, RUN)

    assert plan(read_file(file), (), FACTS, RUN) == first
    again = plan(read_file(file), first.claims, FACTS, RUN)
    assert (again.fabric, again.claims) == (first.fabric, first.claims)


@given(seeds)
@settings(max_examples=60)
def test_no_two_prefixes_overlap_nor_does_one_what_is_reserved(chance: Random) -> None:
    found = plan(read_file(random_file(chance)), (), FACTS, RUN)

    assert_apart([*prefixes_of(found), *(held.prefix for held in FACTS.reservations)])


@given(seeds)
@settings(max_examples=60)
def test_several_fabrics_never_overlap(chance: Random) -> None:
    first = plan(read_file(random_file(chance)), (), Facts(machine="m"), RUN)
    others = tuple(Reservation(prefix, "network of fabric one") for prefix in prefixes_of(first))

    second = plan(read_file(random_file(chance)), (), Facts(machine="m", reservations=others), RUN)

    assert_apart([*prefixes_of(first), *prefixes_of(second)])


@given(seeds)
@settings(max_examples=150)
def test_a_network_node_or_link_more_or_less_moves_nothing_else(chance: Random) -> None:
    file = random_file(chance)
    before = plan(read_file(file), (), Facts(machine="m"), RUN)

    after = plan(read_file(change(chance, file)), before.claims, Facts(machine="m"), RUN)

    for name, segment in after.layout.segments.items():
        if name in before.layout.segments:
            assert segment.prefixes == before.layout.segments[name].prefixes
            assert segment.bridge == before.layout.segments[name].bridge
    was = seats(before)
    assert {seat: found for seat, found in seats(after).items() if seat in was} == {
        seat: found for seat, found in was.items() if seat in seats(after)
    }
    assert {name: mac for name, mac in macs(after).items() if name in macs(before)} == {
        name: mac for name, mac in macs(before).items() if name in macs(after)
    }
    for loopback, address in loopbacks(before).items():
        assert loopbacks(after).get(loopback, address) == address
    assert_apart(prefixes_of(after))


def seats(found: Plan) -> dict[tuple[str, str, object], tuple[Interface, ...]]:
    """Addresses by node and segment, those of gateways aside: they have one for as long as they are that."""
    return {
        (nic.node, nic.segment, gateway): nic.addresses
        for nics in found.layout.nics.values()
        for nic in nics
        for gateway in [getattr(found.layout.segments[nic.segment].spec, "gateway", None)]
        if gateway != NodeGateway(nic.node)
    }


def macs(found: Plan) -> dict[tuple[str, str], str]:
    return {(nic.node, nic.name): nic.mac for nics in found.layout.nics.values() for nic in nics}


def loopbacks(found: Plan) -> dict[tuple[str, int], Address]:
    return {(node, a.version): a for node, held in found.layout.loopbacks.items() for a in held}
