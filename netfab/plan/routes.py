"""Routes as kernel objects: the computed ones (routing.py) of a layout, and those that the file writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network

from netfab.errors import NetfabError, PlanError, raise_all
from netfab.objects.address import Address
from netfab.objects.base import HOST, Name, node_space
from netfab.objects.route import DEFAULT_METRIC6, Hop, Route, through
from netfab.plan.layout import Layout, Nic, Segment
from netfab.plan.paths import Graph, Interface
from netfab.plan.paths import Segment as Cable
from netfab.plan.routing import Computed, computed_routes
from netfab.plan.seats import routers
from netfab.topology.schema import Address as IP
from netfab.topology.schema import HostGateway, Link, NodeGateway, Prefix, RouteWish, Topology

DEFAULT: dict[int, Prefix] = {4: IPv4Network("0.0.0.0/0"), 6: IPv6Network("::/0")}


def routes_of(topology: Topology, layout: Layout, addresses: Iterable[Address]) -> Iterator[Route]:
    """Every route of every node and of the host. Raises PlanError for written ones that lead nowhere."""
    on: dict[Name, list[Address]] = {}
    for address in addresses:
        on.setdefault(address.link, []).append(address)
    computed = computed_routes(graph_of(topology, layout))
    errors: list[NetfabError] = []
    for node, found in computed.items():
        if node == HOST or topology.nodes[node].auto_routes:
            space = HOST if node == HOST else node_space(topology.name, node)
            written = (
                set()
                if node == HOST
                else {_destination(w, topology, layout, node) for w in topology.nodes[node].routes}
            )
            for route in found:
                if route.destination not in written:
                    yield _computed(space, route, on)
    for name, node_wish in topology.nodes.items():
        for wish in node_wish.routes:
            try:
                yield _written(topology, layout, name, wish, on)
            except PlanError as error:
                errors.append(error)
    raise_all(errors)


def graph_of(topology: Topology, layout: Layout) -> Graph:
    """All of the layout that routes depend on."""
    interfaces = [
        Interface(
            nic.node,
            nic.name,
            nic.segment,
            tuple(i.ip for i in nic.addresses),
            nic.port.gateway,
            nic.port.masquerade,
        )
        for nics in layout.nics.values()
        for nic in nics
    ]
    interfaces += [
        Interface(HOST, segment.bridge, name, tuple(i.ip for i in segment.host_addresses))
        for name, segment in layout.segments.items()
        if segment.host_addresses
    ]
    unrouted = frozenset(node.name for node in topology.nodes.values() if not node.auto_routes)
    cables = tuple(_cable(segment) for segment in layout.segments.values())
    return Graph(tuple(interfaces), cables, routers(topology), layout.loopbacks, unrouted)


def _cable(segment: Segment) -> Cable:
    wish = segment.wish
    if isinstance(wish, Link):
        return Cable(segment.name, segment.prefixes, wish.cost, link=True)
    if wish.internal:  # no way out, whoever has the gateway's address; what its routers reach is still routed
        return Cable(segment.name, segment.prefixes)
    if isinstance(wish.gateway, NodeGateway):
        return Cable(segment.name, segment.prefixes, gateway=wish.gateway.node)
    if isinstance(wish.gateway, HostGateway):
        return Cable(segment.name, segment.prefixes, gateway=HOST)
    return Cable(segment.name, segment.prefixes, external=segment.gateways)


def _computed(space: str, route: Computed, on: dict[Name, list[Address]]) -> Route:
    hops = tuple(sorted(Hop(hop.address, Name(space, hop.interface)) for hop in route.via))
    return _route(space, route.destination, hops, None, "unicast", on)


def _route(
    space: str,
    to: Prefix,
    hops: tuple[Hop, ...],
    metric: int | None,
    kind: str,
    on: dict[Name, list[Address]],
) -> Route:
    default = 0 if to.version == 4 else DEFAULT_METRIC6
    return Route(space, to, hops, default if metric is None else metric, through(hops, on), kind)


def _destination(wish: RouteWish, topology: Topology, layout: Layout, node: str) -> Prefix:
    if wish.destination is not None:
        return wish.destination
    if isinstance(wish.via, str):
        shared = {nic.segment for nic in layout.nics[node]}
        via = next(
            (i.ip for nic in layout.nics[wish.via] if nic.segment in shared for i in nic.addresses), None
        )
        return DEFAULT[via.version if via else 4]
    return DEFAULT[wish.via.version if wish.via else 4]


def _written(
    topology: Topology, layout: Layout, node: str, wish: RouteWish, on: dict[Name, list[Address]]
) -> Route:
    space = node_space(topology.name, node)
    to = _destination(wish, topology, layout, node)
    if wish.kind != "unicast":
        return _route(space, to, (), wish.metric, wish.kind, on)
    nics = [nic for nic in layout.nics[node] if wish.dev in (None, nic.name)]
    via = _via(layout, nics, wish, to.version)
    if via is None:
        if not nics:
            raise PlanError(f"{node} has no interface {wish.dev}", at=wish.at)
        return _route(space, to, (Hop(None, Name(space, nics[0].name)),), wish.metric, wish.kind, on)
    for nic in nics:
        if wish.dev or any(via in interface.network for interface in nic.addresses):
            return _route(space, to, (Hop(via, Name(space, nic.name)),), wish.metric, wish.kind, on)
    nets = ", ".join(str(interface.network) for nic in nics for interface in nic.addresses) or "none"
    raise PlanError(
        f"{node} is on no network with {via} ({nets})", at=wish.at, hint="`dev IF` says which way"
    )


def _via(layout: Layout, nics: Iterable[Nic], wish: RouteWish, version: int) -> IP | None:
    """The next hop: an address as written, or that of a node on a shared segment."""
    if not isinstance(wish.via, str):
        return wish.via
    shared = {nic.segment for nic in nics}
    for nic in layout.nics[wish.via]:
        if nic.segment in shared:
            for interface in nic.addresses:
                if interface.version == version:
                    return interface.ip
    raise PlanError(f"{wish.via} shares no network with this node", at=wish.at)
