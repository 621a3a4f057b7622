"""`routes: auto`: which routes each node, and the host, gets.

Shortest paths over routers go into every router; every other node has its default route and what that would
not bring there well. Connected prefixes need none: the kernel makes those. Pure: the graph is made from a
layout, and routes are made into kernel objects, elsewhere; written routes are, too.

Where the rules leave a choice:

- A router with `routes: none` is a router for the others all the same: whoever says that brings routes of his
  own (FRR, say). But no node relies on it for more than the shortest paths that it is on.
- A router's default route goes to the nearest way out (a host gateway, an external router), by equal paths at
  once; of several that it is on itself, to the first, as every node's: each translates to its own address.
- A node with nothing but links (a server on one or two leaves) has its default route by the routers at their
  other ends: those nearest to a way out, or else nearest.
- Neither the host nor an external router is trusted to send a packet back into the segment it came from (the
  host's connection tracking would see half of each connection): their clients also get a route to all that
  the routers beside them reach.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Literal

from netfab.plan.paths import HOST, End, Graph, NextHop, Tree, View
from netfab.topology.schema import Address, Prefix
from netfab.tuples import NamedTuple

DEFAULT: dict[int, Prefix] = {4: IPv4Network("0.0.0.0/0"), 6: IPv6Network("::/0")}


class Computed(NamedTuple):
    """A route of one node: several next hops make one multipath route."""

    destination: Prefix
    via: tuple[NextHop, ...]
    kind: Literal["default", "network", "loopback"]


class _Destination(NamedTuple):
    """A destination, and what needs no route to it: nodes on these segments, and these nodes themselves."""

    prefix: Prefix
    kind: Literal["network", "loopback"]
    tree: Tree
    segments: frozenset[str]
    nodes: frozenset[str]


class _Gateway(NamedTuple):
    """The next hop of a segment's default routes, and whether that is a router with all of our routes."""

    address: Address
    knows: bool


def computed_routes(graph: Graph, of: Container[str] | None = None) -> dict[str, tuple[Computed, ...]]:
    """Every route of every node that has one, and of HOST, sorted: IPv4 first, then default routes first.

    With `of`, of these nodes and HOST; of other routers only the default routes, by which these get out.
    """
    routes: dict[str, tuple[Computed, ...]] = {}
    families: tuple[Literal[4, 6], ...] = (4, 6)
    for family in families:
        view = View(graph, family)
        for node, found in _Family(graph, view, of).routes():
            routes[node] = routes.get(node, ()) + found
    return {node: routes[node] for node in sorted(routes) if routes[node]}


class _Family:
    """The routes of one family."""

    def __init__(self, graph: Graph, view: View, of: Container[str] | None) -> None:
        self._graph, self._view, self._of = graph, view, of
        self._destinations = sorted(_destinations(graph, view), key=lambda found: found.prefix)
        self._loopbacks = [found for found in self._destinations if found.kind == "loopback"]
        pinned = {
            end.node: end.segment
            for node in view.routers
            for end in reversed(view.ends_of(node))
            if end.gateway
        }
        self._exits = Tree(view, {}, view.exits(), pinned)

    def routes(self) -> Iterator[tuple[str, tuple[Computed, ...]]]:
        """(node, its routes) of every node with routes of ours."""
        alike: dict[object, tuple[Computed, ...]] = {}  # a thousand nodes on one network have the same routes
        for node in list(self._view.ends):
            ends = self._view.ends_of(node)
            if node == HOST:
                yield node, self._of_host(ends)
            elif node in self._graph.unrouted:
                continue
            elif node in self._view.routers:
                yield node, self._of_router(node, ends)
            elif self._is_asked(node):
                key = (
                    self._graph.loopbacks.get(node),
                    *((end.interface, end.segment, end.gateway) for end in ends),
                )
                if key not in alike:
                    alike[key] = self._of_other(node, ends)
                yield node, alike[key]

    def _is_asked(self, node: str) -> bool:
        return self._of is None or node in self._of

    def _of_host(self, ends: list[End]) -> tuple[Computed, ...]:
        """What is behind routers on the networks whose gateway is the host."""
        on = [end for end in ends if self._view.segments[end.segment].gateway == HOST]
        return tuple(
            Computed(destination.prefix, hops, destination.kind)
            for destination in self._away(HOST, ends)
            if (hops := destination.tree.next_hops(on))
        )

    def _of_router(self, node: str, ends: list[End]) -> tuple[Computed, ...]:
        default = self._way_out(ends)
        found = [Computed(DEFAULT[self._view.family], default, "default")] if default else []
        for destination in self._away(node, ends) if self._is_asked(node) else ():
            if hops := destination.tree.next_hops(ends):
                found.append(Computed(destination.prefix, hops, destination.kind))
        return tuple(found)

    def _way_out(self, ends: list[End]) -> tuple[NextHop, ...]:
        """A router's default route."""
        flagged = [end for end in ends if end.gateway][:1]
        hops = self._exits.next_hops(flagged or ends)
        chosen = {hop.interface for hop in hops}
        for end in ends:
            if end.interface in chosen and end.segment in self._exits.holders:
                return tuple(hop for hop in hops if hop.interface == end.interface)
        return hops

    def _of_other(self, node: str, ends: list[End]) -> tuple[Computed, ...]:
        """The default route of a node that doesn't forward, and the other routes that it needs."""
        default, knows = self._default(ends)
        found = [Computed(DEFAULT[self._view.family], default, "default")] if default else []
        if knows and len(ends) == 1:
            return tuple(found)
        leaving = {hop.interface for hop in default}
        for destination in self._away(node, ends):
            hops = destination.tree.next_hops(ends)
            # A router with all routes forwards the packet, if need be by the segment it came from.
            served = leaving <= {hop.interface for hop in hops} if knows else set(default) <= set(hops)
            if hops and not (default and served):
                found.append(Computed(destination.prefix, hops, destination.kind))
        return tuple(found)

    def _default(self, ends: list[End]) -> tuple[tuple[NextHop, ...], bool]:
        """Next hops of the default route, and whether all of them have every route.

        By the interface with `gateway: true`, or the first network with a gateway, or by links.
        """
        networks = [end for end in ends if not self._view.segments[end.segment].link]
        for end in [*(end for end in ends if end.gateway), *networks]:
            if gateways := self._gateways(end):
                return _hops([(end, gateways)])
        links = [(end, gateways) for end in ends if (gateways := self._gateways(end))]
        out = [(end, gateways) for end, gateways in links if self._exits.way(end.segment)] or links
        nearest = min((self._cost_out(end) for end, _ in out), default=0)
        return _hops([(end, gateways) for end, gateways in out if self._cost_out(end) == nearest])

    def _cost_out(self, end: End) -> int:
        way = self._exits.way(end.segment)
        return way.cost if way else self._view.segments[end.segment].cost

    def _gateways(self, end: End) -> list[_Gateway]:
        """The gateways of an interface's segment."""
        segment = self._view.segments[end.segment]
        if segment.external:
            return [_Gateway(a, False) for a in segment.external if a.version == self._view.family]
        if segment.gateway is not None:
            there = self._view.ends.get(segment.gateway, {}).get(segment.name)
            return [] if there is None else [_Gateway(there.address, self._knows(segment.gateway))]
        if segment.link or end.gateway:
            return [
                _Gateway(router.address, self._knows(router.node))
                for router in self._view.routers_on.get(segment.name, [])
                if not router.masquerade
            ]
        return []

    def _knows(self, node: str) -> bool:
        return node in self._view.routers and node not in self._graph.unrouted

    def _away(self, node: str, ends: list[End]) -> Iterator[_Destination]:
        """The destinations other than the node's own; without a router beside it, only loopbacks."""
        on = frozenset(end.segment for end in ends)  # the smaller of two sets is iterated
        routed = any(self._view.routers_on.get(segment) for segment in on)
        for destination in self._destinations if routed else self._loopbacks:
            if node not in destination.nodes and destination.segments.isdisjoint(on):
                yield destination


def _hops(ways: Iterable[tuple[End, list[_Gateway]]]) -> tuple[tuple[NextHop, ...], bool]:
    pairs = [
        (NextHop(gateway.address, end.interface), gateway.knows) for end, found in ways for gateway in found
    ]
    hops = sorted((hop for hop, _ in pairs), key=lambda hop: (int(hop.address), hop.interface))
    return tuple(hops), bool(pairs) and all(knows for _, knows in pairs)


def _destinations(graph: Graph, view: View) -> Iterator[_Destination]:
    """Prefixes of segments and loopbacks; one that is in several places is reached at the nearest."""
    places: dict[Prefix, list[str]] = defaultdict(list)
    for segment in graph.segments:
        for prefix in segment.prefixes:
            if prefix.version == view.family:
                places[prefix].append(segment.name)
    trees: dict[tuple[str, ...], Tree] = {}
    for prefix, names in places.items():
        at = tuple(sorted(names))
        if at not in trees:
            start = {
                end.node: view.segments[name].cost for name in at for end in view.routers_on.get(name, ())
            }
            trees[at] = Tree(view, start, {})
        yield _Destination(prefix, "network", trees[at], frozenset(at), frozenset())
    owners: dict[Address, list[str]] = defaultdict(list)
    for node in sorted(graph.loopbacks):
        for address in graph.loopbacks[node]:
            if address.version == view.family:
                owners[address].append(node)
    for address, nodes in owners.items():
        ends = [end for node in nodes for end in view.ends_of(node)]
        holders: dict[str, list[Address]] = defaultdict(list)
        for end in ends:
            holders[end.segment].append(end.address)
        tree = Tree(view, {node: 0 for node in nodes if node in view.routers}, holders)
        yield _Destination(ip_network(address), "loopback", tree, frozenset(), frozenset(nodes))
