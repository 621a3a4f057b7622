"""What the firewall is told of a layout: areas, guarded ports, published ports. The rules are firewall.py's and guard.py's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv6Address, ip_network

from netfab.errors import NetfabError, PlanError, raise_all
from netfab.objects.base import HOST, node_space
from netfab.objects.firewall import Firewall
from netfab.objects.route import Route
from netfab.plan.facts import Facts, Lease
from netfab.plan.firewall import Area, PublishedPort, firewall
from netfab.plan.guard import GuardedPort, guard
from netfab.plan.layout import Layout, Nic, Segment
from netfab.plan.names import link_local
from netfab.plan.seats import routers
from netfab.topology.schema import Address, HostGateway, Network, Node, Prefix, Publish, Topology


def firewalls(
    topology: Topology, layout: Layout, routes: Sequence[Route], uplinks: Sequence[str], facts: Facts
) -> Iterator[Firewall]:
    """The fabric's tables on this host. Raises PlanError for what can't be published."""
    behind = _behind(routes)
    areas = [
        _area(segment, segment.wish, behind.get(segment.bridge, []))
        for segment in layout.segments.values()
        if isinstance(segment.wish, Network) and not segment.wish.external
    ]
    published = [port for port, _ in published_ports(topology, layout, routes, facts)]
    yield from firewall(topology.name, areas, published, uplinks)
    yield from guard(topology.name, list(_guarded(topology, layout, routes)))


def published_ports(
    topology: Topology, layout: Layout, routes: Sequence[Route], facts: Facts
) -> list[tuple[PublishedPort, Publish]]:
    """Every published port, for each family that it is published in. Raises PlanError, for all at once."""
    found: list[tuple[PublishedPort, Publish]] = []
    errors: list[NetfabError] = []
    for node in topology.nodes.values():
        for wish in node.publish:
            try:
                found += [(port, wish) for port in _published(layout, routes, node, wish)]
            except PlanError as error:
                errors.append(error)
                continue
            holder = facts.published.get(publish_key(wish))
            if holder:
                errors.append(
                    PlanError(f"port {publish_key(wish)} is published by fabric {holder}", at=wish.at)
                )
    raise_all(errors)
    return found


def publish_key(wish: Publish) -> str:
    """What only one of a host's fabrics can publish: tcp/*/8080."""
    return f"{wish.protocol}/{wish.host_address or '*'}/{wish.host_port}"


def lease_of(wish: Publish) -> Lease:
    """What keeps other fabrics from publishing the same port."""
    return Lease("publish", publish_key(wish), str(wish.node_port))


def _area(segment: Segment, network: Network, behind: Iterable[Prefix]) -> Area:
    return Area(
        segment.bridge,
        (*segment.prefixes, *behind),
        isinstance(network.gateway, HostGateway),
        network.masquerade,
        network.internal,
        network.isolated,
    )


def _behind(routes: Iterable[Route]) -> dict[str, list[Prefix]]:
    """Prefixes that the host reaches through routers, by the bridge that leads there."""
    found: dict[str, list[Prefix]] = {}
    for route in routes:
        if route.space == HOST:
            for hop in route.hops:
                found.setdefault(hop.link.text, []).append(route.destination)
    return found


def _guarded(topology: Topology, layout: Layout, routes: Sequence[Route]) -> Iterator[GuardedPort]:
    forwarding = routers(topology)
    ways_out = _ways_out(routes)
    for node, nics in layout.nics.items():
        for nic in nics:
            if nic.host_link:
                routed: tuple[Prefix, ...] = ()
                if node in forwarding:
                    out = ways_out.get(node_space(topology.name, node), frozenset())
                    routed = tuple(_routed_through(layout, nic, out))
                yield _guard_of(nic, layout, layout.loopbacks.get(node, ()), routed)


def _guard_of(
    nic: Nic, layout: Layout, loopbacks: Iterable[Address], routed: tuple[Prefix, ...]
) -> GuardedPort:
    """What the nic's node may send: its own, what `allow` says, and for a router what lies behind it."""
    if nic.port.spoof == "allow":
        return GuardedPort(nic.host_link, guard="none")
    macs, prefixes = [nic.mac], []
    for allowed in nic.port.allow:
        if len(allowed) == 17 and allowed.count(":") == 5:
            macs.append(allowed)
        else:
            prefixes.append(ip_network(allowed))
    addresses = [interface.ip for interface in nic.addresses]
    unaddressed = not addresses and not layout.segments[nic.segment].prefixes
    addresses += [*loopbacks, IPv6Address(link_local(nic.mac))]
    kind = "mac" if unaddressed or nic.port.no_address or nic.port.dhcp else "all"
    return GuardedPort(nic.host_link, tuple(macs), tuple(addresses), (*prefixes, *routed), kind)  # type: ignore[arg-type]


def _ways_out(routes: Iterable[Route]) -> dict[str, frozenset[str]]:
    """Interfaces by which each node's default routes leave."""
    return {
        route.space: frozenset(hop.link.text for hop in route.hops)
        for route in routes
        if route.destination.prefixlen == 0 and route.destination.version == 4
    }


def _routed_through(layout: Layout, nic: Nic, out: frozenset[str]) -> Iterator[Prefix]:
    """Where packets come from that a router sends by that interface: from anywhere, unless the way out is there."""
    if out and nic.name not in out:
        yield ip_network("0.0.0.0/0")
        yield ip_network("::/0")
        return
    for name, segment in layout.segments.items():
        if name != nic.segment:
            yield from segment.prefixes
    for addresses in layout.loopbacks.values():
        yield from (ip_network(address) for address in addresses)


def _published(layout: Layout, routes: Sequence[Route], node: Node, wish: Publish) -> Iterator[PublishedPort]:
    families = (wish.host_address.version,) if wish.host_address is not None else (4, 6)
    reached = False
    for family in families:
        way = _way_to(layout, routes, layout.nics[node.name], family)
        if way is not None:
            address, bridge = way
            reached = True
            yield PublishedPort(
                wish.protocol, wish.host_address, wish.host_port, address, wish.node_port, bridge
            )
    if not reached:
        raise PlanError(
            f"{node.name} publishes port {wish.host_port}, and the host has no way to it",
            at=wish.at,
            hint="put it on a network with `gateway: host` that is not `internal`, or behind a router of one",
        )


def _way_to(
    layout: Layout, routes: Iterable[Route], nics: Iterable[Nic], family: int
) -> tuple[Address, str] | None:
    """An address of the node, and the bridge by which the host reaches it."""
    host_routes = [route for route in routes if route.space == HOST]
    for nic in nics:
        segment = layout.segments[nic.segment]
        for interface in nic.addresses:
            if interface.version != family:
                continue
            wish = segment.wish
            if isinstance(wish, Network) and isinstance(wish.gateway, HostGateway):
                if not wish.internal:
                    return interface.ip, segment.bridge
            else:
                for route in host_routes:
                    if route.destination.version == family and interface.ip in route.destination:
                        return interface.ip, route.hops[0].link.text
    return None
