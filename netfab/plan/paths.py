"""Shortest paths over routers, on an abstract graph of nodes with interfaces on segments, family by family.

Knows what a path costs and which next hops a segment offers for it. Who gets a route from that is for
routing.py to say; topologies, leases and kernel objects are unknown here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from heapq import heapify, heappop, heappush
from typing import Literal

from netfab.topology.schema import Address, Prefix
from netfab.tuples import NamedTuple

HOST = "host"  # no node has this name
MULTIPATH = 16  # most next hops in one route


class Interface(NamedTuple):
    """A node's interface on a segment. The first address of a family is the next hop for others."""

    node: str
    name: str
    segment: str
    addresses: tuple[Address, ...]
    gateway: bool = False  # the node's default route goes here
    masquerade: bool = False  # what is behind it is not routed


class Segment(NamedTuple):
    """A network or link.

    gateway: the node that is its members' way out, HOST for the host; None also for an internal network.
    external: the same for a router outside netfab.
    """

    name: str
    prefixes: tuple[Prefix, ...]
    cost: int = 1  # of crossing it, at least 1
    gateway: str | None = None
    external: tuple[Address, ...] = ()
    link: bool = False  # point-to-point: the other end is the way out, if it is a router


class Graph(NamedTuple):
    """Everything in a fabric that routes depend on. A node's interfaces are in their order, eth0 first.

    HOST has interfaces but is no router: it is a way out, and does not join networks.
    """

    interfaces: tuple[Interface, ...]
    segments: tuple[Segment, ...]
    routers: frozenset[str]
    loopbacks: Mapping[str, tuple[Address, ...]] = {}
    unrouted: AbstractSet[str] = frozenset()  # nodes with `routes: none`


class NextHop(NamedTuple):
    """A router's address and the interface that leads there."""

    address: Address
    interface: str


class End(NamedTuple):
    """An interface in one address family."""

    node: str
    interface: str
    segment: str
    address: Address
    gateway: bool
    masquerade: bool


class View:
    """The graph in one family: who has an address of it on which segment.

    An interface without one (link-local only, say) is on no segment. Of two interfaces on one segment the
    first is used, unless the second has `gateway: true`: both reach the same neighbours.
    """

    def __init__(self, graph: Graph, family: Literal[4, 6]) -> None:
        self.family = family
        self.segments = {segment.name: segment for segment in graph.segments}
        self.ends: dict[str, dict[str, End]] = defaultdict(dict)  # by node and segment
        for node, name, segment, addresses, gateway, masquerade in graph.interfaces:
            for address in addresses:
                if address.version == family and not (family == 6 and address.is_link_local):
                    known = self.ends[node].get(segment)
                    if known is None or (gateway and not known.gateway):
                        self.ends[node][segment] = End(node, name, segment, address, gateway, masquerade)
                    break
        self.routers = graph.routers & self.ends.keys()
        self.routers_on: dict[str, list[End]] = defaultdict(list)
        for node in sorted(self.routers):
            for end in self.ends[node].values():
                self.routers_on[end.segment].append(end)
        # Where a path from the destination can continue from a router: a hub with a thousand servers has
        # none.
        self.onward = {
            node: [
                end
                for end in self.ends[node].values()
                if len(self.routers_on[end.segment]) > 1 and not end.masquerade
            ]
            for node in self.routers
        }

    def ends_of(self, node: str) -> list[End]:
        """The node's interfaces, in order."""
        return list(self.ends[node].values()) if node in self.ends else []

    def exits(self) -> dict[str, list[Address]]:
        """By segment with a way out of the fabric: the host's address there, or the external router's."""
        found: dict[str, list[Address]] = {}
        for segment in self.segments.values():
            addresses = [address for address in segment.external if address.version == self.family]
            if segment.gateway == HOST and segment.name in self.ends.get(HOST, {}):
                addresses.append(self.ends[HOST][segment.name].address)
            if addresses:
                found[segment.name] = addresses
        return found


class Way(NamedTuple):
    """The way from a segment to a destination: the cost, including its own crossing, and the next hops."""

    cost: int
    addresses: tuple[Address, ...]


class Tree:
    """Shortest paths from every router to one destination (Dijkstra, from the destination outwards).

    start: the distances of routers that are at the destination already. holders: per segment, the addresses
    on it that are the destination themselves. pinned: routers that may leave only by one segment.
    """

    def __init__(
        self,
        view: View,
        start: Mapping[str, int],
        holders: Mapping[str, list[Address]],
        pinned: Mapping[str, str] | None = None,
    ) -> None:
        self._view = view
        self.holders = holders
        self._ways: dict[str, Way | None] = {}
        self._distance: dict[str, int] = {}
        self._grow([(distance, node) for node, distance in start.items()], pinned or {})

    def _grow(self, heap: list[tuple[int, str]], pinned: Mapping[str, str]) -> None:
        crossed: set[str] = set()

        def cross(segment: str, distance: int) -> None:
            # The first to arrive is nearest, and all the others on the segment are equally far from there.
            crossed.add(segment)
            there = distance + self._view.segments[segment].cost
            for end in self._view.routers_on[segment]:
                if end.node not in self._distance and pinned.get(end.node, segment) == segment:
                    heappush(heap, (there, end.node))

        heapify(heap)
        for segment in self.holders:
            cross(segment, 0)
        while heap:
            distance, node = heappop(heap)
            if node in self._distance:
                continue
            self._distance[node] = distance
            for end in self._view.onward[node]:
                if end.segment not in crossed:
                    cross(end.segment, distance)

    def way(self, segment: str) -> Way | None:
        """The way from the segment; None if there is none."""
        if segment not in self._ways:
            self._ways[segment] = self._way(segment)
        return self._ways[segment]

    def _way(self, segment: str) -> Way | None:
        cost = self._view.segments[segment].cost
        if segment in self.holders:
            return Way(cost, tuple(self.holders[segment]))
        offers = [
            (self._distance[end.node], end.address)
            for end in self._view.routers_on.get(segment, ())
            if end.node in self._distance and not end.masquerade
        ]
        if not offers:
            return None
        nearest = min(distance for distance, _ in offers)
        return Way(nearest + cost, tuple(address for distance, address in offers if distance == nearest))

    def next_hops(self, ends: Iterable[End]) -> tuple[NextHop, ...]:
        """The equally short ways by any of a node's interfaces, sorted, at most 16; () if there are none."""
        ways = [(way, end.interface) for end in ends if (way := self.way(end.segment)) is not None]
        if not ways:
            return ()
        shortest = min(way.cost for way, _ in ways)
        hops = [
            NextHop(address, interface)
            for way, interface in ways
            if way.cost == shortest
            for address in way.addresses
        ]
        return tuple(sorted(hops, key=lambda hop: (int(hop.address), hop.interface))[:MULTIPATH])
