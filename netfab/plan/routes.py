"""Routes as kernel objects: the computed ones (routing.py) of a layout, and those that the file writes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from netfab.errors import NetfabError, PlanError, raise_all
from netfab.objects.address import Address
from netfab.objects.base import HOST, Name, node_space
from netfab.objects.route import DEFAULT_METRIC6, Hop, Route, through
from netfab.plan.layout import Layout, Nic, Segment
from netfab.plan.network import leads_out
from netfab.plan.paths import Graph, Interface
from netfab.plan.paths import Segment as PathSegment
from netfab.plan.routing import DEFAULT, Computed, computed_routes
from netfab.plan.seats import host_is_gateway, routers
from netfab.topology.schema import Address as AnyAddress
from netfab.topology.schema import Link, NodeGateway, Prefix, RouteSpec, Topology


def routes_of(topology: Topology, layout: Layout, addresses: Iterable[Address]) -> Iterator[Route]:
    """Every route of the host, and of every node on it.

    Of nodes on other hosts, written routes and routers' default routes: ours may leave through these. Raises
    PlanError for invalid written ones.
    """
    on: dict[Name, list[Address]] = {}
    for address in addresses:
        on.setdefault(address.link, []).append(address)
    written = dict(_written_routes(topology, layout, on))
    for node, found in computed_routes(graph_of(topology, layout), layout.here).items():
        if node == HOST or topology.nodes[node].auto_routes:
            space = HOST if node == HOST else node_space(topology.name, node)
            won = {route.destination for route in written.get(node, ())}
            for route in found:
                if route.destination not in won:
                    yield _computed(space, route, on)
    for routes in written.values():
        yield from routes


def _written_routes(
    topology: Topology, layout: Layout, on: dict[Name, list[Address]]
) -> Iterator[tuple[str, list[Route]]]:
    """The routes that each node writes."""
    errors: list[NetfabError] = []
    for node in topology.nodes.values():
        if not node.routes:
            continue
        found: dict[Name, Route] = {}
        own = {name for nic in layout.nics[node.name] for name in _connected(topology.name, nic, on)}
        for spec in node.routes:
            try:
                route = _written(topology, layout, node.name, spec, on)
            except PlanError as error:
                errors.append(error)
                continue
            (name,) = route.names
            if name in found or name in own:
                what = (
                    "is a network of its own" if name in own else "has a route already, with the same metric"
                )
                errors.append(PlanError(f"{route.destination} {what} in {node.name}", at=spec.at))
            found[name] = route
        yield node.name, list(found.values())
    raise_all(errors)


def _connected(fabric: str, nic: Nic, on: dict[Name, list[Address]]) -> Iterator[Name]:
    """The routes that the kernel creates for an interface's addresses."""
    for address in on.get(Name(node_space(fabric, nic.node), nic.name), ()):
        yield address.names[1]


def is_here(fabric: str, layout: Layout, route: Route) -> bool:
    """Whether it is the host's, or that of a node on the host planned for."""
    return route.space == HOST or layout.has(node_of(fabric, route.space))


def with_way_out(topology: Topology, layout: Layout, routes: Iterable[Route]) -> frozenset[str]:
    """The nodes whose default routes lead out of the fabric: by the host, or a router outside netfab."""
    at = {
        (nic.segment, interface.ip): nic.node
        for node in routers(topology)
        for nic in layout.nics[node]
        for interface in nic.addresses
    }
    at |= {
        (name, interface.ip): "" if leads_out(segment) else HOST
        for name, segment in layout.segments.items()
        for interface in segment.host_addresses
    }
    followers: dict[str, list[str]] = defaultdict(list)  # "" is outside
    for route in routes:
        if route.destination.prefixlen == 0 and route.space != HOST:
            node = node_of(topology.name, route.space)
            segment_of = {nic.name: nic.segment for nic in layout.nics[node]}
            for hop in route.hops:
                if hop.via is not None:
                    followers[at.get((segment_of[hop.link.text], hop.via), "")].append(node)
    found: set[str] = set()
    waiting = [""]
    while waiting:
        for node in followers.pop(waiting.pop(), ()):
            found.add(node)
            waiting.append(node)
    return frozenset(found)


def node_of(fabric: str, space: str) -> str:
    """The node of a namespace."""
    return space.removeprefix(node_space(fabric, ""))


def graph_of(topology: Topology, layout: Layout) -> Graph:
    """The layout's part that routes depend on; nodes on other hosts if they route or are routed to."""
    forwarding = routers(topology)
    nodes = dict.fromkeys([*layout.here, *forwarding, *layout.loopbacks])
    interfaces = [
        Interface(
            nic.node,
            nic.name,
            nic.segment,
            tuple(i.ip for i in nic.addresses),
            nic.port.gateway,
            nic.port.masquerade,
        )
        for node in nodes
        for nic in layout.nics[node]
    ]
    interfaces += [
        Interface(HOST, _device(segment), name, tuple(i.ip for i in segment.host_addresses))
        for name, segment in layout.segments.items()
        if segment.host_addresses
    ]
    unrouted = frozenset(node for node in nodes if not topology.nodes[node].auto_routes)
    segments = tuple(map(_path_segment, layout.segments.values()))
    return Graph(tuple(interfaces), segments, forwarding, layout.loopbacks, unrouted)


def _device(segment: Segment) -> str:
    """The host's interface there."""
    outside = segment.spec.outside if isinstance(segment.spec, Link) else None
    return segment.bridge if outside is None else outside.device


def _path_segment(segment: Segment) -> PathSegment:
    """A network or link for the shortest paths."""
    spec = segment.spec
    if isinstance(spec, Link):
        return PathSegment(segment.name, segment.prefixes, spec.cost, link=True)
    if spec.internal:  # no way out, whoever has the gateway's address; what its routers reach is still routed
        return PathSegment(segment.name, segment.prefixes)
    if isinstance(spec.gateway, NodeGateway):
        return PathSegment(segment.name, segment.prefixes, gateway=spec.gateway.node)
    if host_is_gateway(spec) and segment.here:
        return PathSegment(segment.name, segment.prefixes, gateway=HOST)
    return PathSegment(segment.name, segment.prefixes, external=segment.gateways)


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
    default = 0 if to.version == 4 else DEFAULT_METRIC6  # to the kernel, 0 is no metric for IPv6
    return Route(space, to, hops, metric or default, through(hops, on), kind)


def _destination(spec: RouteSpec, topology: Topology, layout: Layout, node: str) -> Prefix:
    if spec.destination is not None:
        return spec.destination
    if isinstance(spec.via, str):
        shared = {nic.segment for nic in layout.nics[node]}
        via = next(
            (i.ip for nic in layout.nics[spec.via] if nic.segment in shared for i in nic.addresses), None
        )
        return DEFAULT[via.version if via else 4]
    return DEFAULT[spec.via.version if spec.via else 4]


def _written(
    topology: Topology, layout: Layout, node: str, spec: RouteSpec, on: dict[Name, list[Address]]
) -> Route:
    space = node_space(topology.name, node)
    to = _destination(spec, topology, layout, node)
    if spec.kind != "unicast":
        return _route(space, to, (), spec.metric, spec.kind, on)
    nics = [nic for nic in layout.nics[node] if spec.dev in (None, nic.name)]
    if not nics:
        raise PlanError(f"{node} has no interface {spec.dev or ''}".rstrip(), at=spec.at)
    via = _via(layout, nics, spec, to.version)
    if via is None:
        return _route(space, to, (Hop(None, Name(space, nics[0].name)),), spec.metric, spec.kind, on)
    for nic in nics:
        if spec.dev or any(via in interface.network for interface in nic.addresses):
            return _route(space, to, (Hop(via, Name(space, nic.name)),), spec.metric, spec.kind, on)
    nets = ", ".join(str(interface.network) for nic in nics for interface in nic.addresses) or "none"
    raise PlanError(
        f"{node} is on no network with {via} ({nets})", at=spec.at, hint="`dev IF` says which way"
    )


def _via(layout: Layout, nics: Iterable[Nic], spec: RouteSpec, version: int) -> AnyAddress | None:
    """The next hop: a written address, or that of a node on a shared segment."""
    if not isinstance(spec.via, str):
        return spec.via
    shared = {nic.segment for nic in nics}
    for nic in layout.nics[spec.via]:
        if nic.segment in shared:
            for interface in nic.addresses:
                if interface.version == version:
                    return interface.ip
    raise PlanError(f"{spec.via} shares no network with this node", at=spec.at)
