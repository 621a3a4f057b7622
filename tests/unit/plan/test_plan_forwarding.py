"""Packets through the objects of whole plans: longest prefix match, along every next hop of every route."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from planning import RUN, of_kind
from random_files import random_file, read_file

from netfab.objects.address import Address
from netfab.objects.base import HOST, Name, node_space
from netfab.objects.port import Port
from netfab.objects.route import Route
from netfab.objects.veth import Veth
from netfab.plan.facts import Facts
from netfab.plan.planner import Plan, plan
from netfab.topology.schema import Address as AnyAddress
from netfab.topology.schema import HostGateway, Link

Hops = list[tuple[AnyAddress | None, Name]]


class Network:
    """What the kernels would make of a plan: wires, forwarding tables, and who answers for which address."""

    def __init__(self, found: Plan) -> None:
        ports = {port.link: port.bridge for port in of_kind(found, Port)}
        self.wire: dict[Name, Name] = {}  # by link: the bridge, or one end of the link
        self.forwards: set[str] = set()
        for veth in of_kind(found, Veth):
            for end in (veth.a, veth.b):
                self.wire[end.link] = ports.get(veth.a.link, veth.a.link)
                if end.settings.forwarding:
                    self.forwards.add(end.link.space)
        self.own: dict[str, set[AnyAddress]] = defaultdict(set)
        self.at: dict[tuple[Name, AnyAddress], str] = {}
        self.tables: dict[str, dict[tuple[int, int], dict[int, Hops]]] = defaultdict(
            lambda: defaultdict(dict)
        )
        for address in of_kind(found, Address):
            self.own[address.link.space].add(address.address)
            if address.link.text != "lo":
                self.at[self.wire.get(address.link, address.link), address.address] = address.link.space
                self._add(address.link.space, address.address, address.length, [(None, address.link)])
        for route in of_kind(found, Route):
            hops: Hops = [(hop.via, hop.link) for hop in route.hops]
            self._add(route.space, route.destination.network_address, route.destination.prefixlen, hops)
        self._arrives: dict[tuple[str, AnyAddress], bool] = {}

    def _add(self, space: str, address: AnyAddress, length: int, hops: Hops) -> None:
        first = int(address) >> (address.max_prefixlen - length)
        self.tables[space][address.version, length].setdefault(first, hops)

    def lookup(self, space: str, to: AnyAddress) -> Hops:
        """The next hops of the longest prefix that matches."""
        for version, length in sorted(self.tables[space], reverse=True):
            if version == to.version:
                first = int(to) >> (to.max_prefixlen - length)
                if hops := self.tables[space][version, length].get(first):
                    return hops
        return []

    def arrives(self, space: str, to: AnyAddress) -> bool:
        """Whether all that is sent there from here gets there, whichever of equal ways it takes."""
        if to in self.own[space]:
            return True
        known = self._arrives.get((space, to))
        if known is None:
            self._arrives[space, to] = False  # while we look: who comes by again goes in a circle
            hops = self.lookup(space, to)
            known = self._arrives[space, to] = bool(hops) and all(self._passes(hop, to) for hop in hops)
        return known

    def _passes(self, hop: tuple[AnyAddress | None, Name], to: AnyAddress) -> bool:
        via, link = hop
        following = self.at.get((self.wire.get(link, link), via or to))
        if following is None or (to not in self.own[following] and following not in self.forwards):
            return False
        return self.arrives(following, to)


class Reach:
    """Which segments are joined by routers, for one family: found by merging, not by routes."""

    def __init__(self, found: Plan, routers: Iterable[str], version: int) -> None:
        self._parent: dict[str, str] = {}
        self.found, self.version = found, version
        for node in routers:
            joined = self.of_node(node)
            for segment in joined:
                self._parent[self.root(segment)] = self.root(joined[0])

    def root(self, segment: str) -> str:
        while (parent := self._parent.get(segment, segment)) != segment:
            segment = parent
        return segment

    def of_node(self, node: str) -> list[str]:
        """The segments that the node is on with an address of the family."""
        return [
            nic.segment
            for nic in self.found.layout.nics[node]
            if any(interface.version == self.version for interface in nic.addresses)
        ]

    def areas(self, node: str) -> set[str]:
        return {self.root(segment) for segment in self.of_node(node)}

    def of_host(self) -> set[str]:
        """What the host is joined with: networks whose gateway it is, and what is behind."""
        specs = {name: segment.spec for name, segment in self.found.layout.segments.items()}
        return {
            self.root(name)
            for name, spec in specs.items()
            if not isinstance(spec, Link) and isinstance(spec.gateway, HostGateway) and not spec.internal
        }


def lost(found: Plan, routers: list[str]) -> list[str]:
    """Every pair that should reach each other and does not."""
    network = Network(found)
    failures = []
    for version in (4, 6):
        reach = Reach(found, routers, version)
        spaces = {node: node_space("lab", node) for node in found.layout.nics}
        areas = {node: reach.areas(node) for node in spaces}
        for target, space in spaces.items():
            for to in network.own[space]:
                if to.version == version and not to.is_link_local:
                    failures += [
                        f"{source} -> {target} {to}"
                        for source in spaces
                        if areas[source] & target_areas(reach, target, to)
                        and not network.arrives(spaces[source], to)
                    ]
                    if reach.of_host() & target_areas(reach, target, to) and not network.arrives(HOST, to):
                        failures.append(f"host -> {target} {to}")
    return failures


def target_areas(reach: Reach, node: str, to: AnyAddress) -> set[str]:
    """Where an address is: on its own segment, or, on lo, wherever its node is."""
    for nic in reach.found.layout.nics[node]:
        if any(interface.ip == to for interface in nic.addresses):
            return {reach.root(nic.segment)}
    return reach.areas(node)


@given(st.integers(0, 2**32).map(Random))
@settings(max_examples=80)
def test_every_pair_that_routers_join_reaches_each_other(chance: Random) -> None:
    topology = read_file(random_file(chance))

    found = plan(topology, (), Facts(machine="m"), RUN)

    assert lost(found, [node.name for node in topology.nodes.values() if node.forward]) == []


@given(st.integers(0, 2**32).map(Random))
@settings(max_examples=3)
def test_so_it_does_among_fifty_routers(chance: Random) -> None:
    topology = read_file(random_file(chance, routers=50))

    found = plan(topology, (), Facts(machine="m"), RUN)

    assert lost(found, [node.name for node in topology.nodes.values() if node.forward]) == []
