"""The firewall's input, from a layout: areas, guarded ports, published ports.

The rules are in firewall.py and guard.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Literal, TypeGuard

from netfab.errors import NetfabError, PlanError, raise_all
from netfab.objects.address import link_local
from netfab.objects.base import HOST, node_space
from netfab.objects.bridge import Bridge
from netfab.objects.firewall import Firewall
from netfab.objects.route import Route
from netfab.plan.facts import Facts
from netfab.plan.layout import Layout, Nic, Segment, tunnels_here
from netfab.plan.leases import Lease, Published
from netfab.plan.routing import DEFAULT
from netfab.plan.seats import host_is_gateway, routers
from netfab.plan.uplink import address_of, forwards, nic_of, original_of
from netfab.topology.schema import Address, Link, Network, Node, Prefix, Publish, Topology

if TYPE_CHECKING:
    from netfab.objects.held import HeldPorts
    from netfab.plan.firewall import Area, PublishedPort, TunnelEnds
    from netfab.plan.guard import GuardedPort
    from netfab.plan.tunnels import Tunnel

_ALL = {4: "0.0.0.0", 6: "::"}  # for bind(2) on all of the host's addresses
_ANYWHERE = tuple(DEFAULT.values())


def firewalls(
    topology: Topology,
    layout: Layout,
    routes: Sequence[Route],
    published: Sequence[PublishedPort],
    uplinks: Mapping[int, Sequence[str]],
    bridges: Iterable[Bridge],
    facts: Facts,
) -> Iterator[Firewall]:
    """The fabric's tables on this host, for the fabric's bridges here."""
    if _is_open(layout):
        return
    from netfab.plan.firewall import firewall
    from netfab.plan.guard import guard

    macs = {bridge.link.text: bridge.mac for bridge in bridges}
    behind = _behind(routes)
    areas = [
        _with_uplink(
            _area(segment, segment.spec, macs[segment.bridge], behind.get(segment.bridge, [])),
            layout,
            segment,
            facts,
        )
        for segment in layout.segments.values()
        if _is_area(segment.spec, segment)
    ]
    tunnels = tunnels_here(layout)
    # The guard comes first: it blocks what comes from a former tunnel before the firewall stops checking
    # that.
    uplinked = any(nic_of(network) for network in topology.networks.values())
    devices = [tunnel.device for _, tunnel in tunnels]
    yield from guard(topology.name, list(_guarded(topology, layout, routes)), devices, uplinked)
    yield from firewall(topology.name, areas, published, uplinks, _ends_of(layout, tunnels))


def _is_open(layout: Layout) -> bool:
    """Whether nothing in it is checked: e.g. with attachments to bridges of others."""
    free = all(nic.port.spoof == "allow" for nics in layout.here.values() for nic in nics if nic.host_link)
    areas = any(_is_area(segment.spec, segment) for segment in layout.segments.values())
    return free and not areas and not tunnels_here(layout)


def _is_area(spec: Network | Link, segment: Segment) -> TypeGuard[Network]:
    return isinstance(spec, Network) and segment.here and spec.guarded and not spec.external


def _ends_of(layout: Layout, tunnels: Iterable[tuple[Segment, Tunnel]]) -> TunnelEnds | None:
    """What comes to this host's tunnels, and from whom it may."""
    found = [tunnel for _, tunnel in tunnels]
    if not found:
        return None
    from netfab.plan.firewall import TunnelEnds

    ports = tuple(sorted({tunnel.port for tunnel in found}))
    vnis = tuple(sorted(tunnel.vni for tunnel in found))
    peers = frozenset(a for tunnel in found for host, a in tunnel.ends.items() if host != layout.host)
    encrypted = tuple(sorted(tunnel.vni for tunnel in found if tunnel.encrypted))
    return TunnelEnds(ports, vnis, peers, encrypted)


def published_ports(
    topology: Topology, layout: Layout, routes: Iterable[Route], facts: Facts
) -> list[tuple[PublishedPort, Publish]]:
    """Every published port, for each family in which it is. Raises PlanError, with all errors at once."""
    by_host = [route for route in routes if route.space == HOST]
    found: list[tuple[PublishedPort, Publish]] = []
    errors: list[NetfabError] = []
    held = Published(facts.published)
    for node in (node for node in topology.nodes.values() if layout.has(node.name)):
        for publish in node.publish:
            try:
                found += [(port, publish) for port in _published(layout, by_host, node, publish)]
            except PlanError as error:
                errors.append(error)
                continue
            if other := held.beside(publish_key(publish)):
                message = f"port {publish_key(publish)} is published by fabric {facts.published[other]}"
                errors.append(PlanError(message, at=publish.at))
    raise_all(errors)
    return found


def held_ports(fabric: str, published: Sequence[PublishedPort]) -> Iterator[HeldPorts]:
    """What keeps other programs from these ports."""
    if not published:
        return
    from netfab.objects.held import HeldPorts

    found = {f"{port.protocol}/{port.host or _ALL[port.node.version]}/{port.host_port}" for port in published}
    yield HeldPorts(fabric, tuple(sorted(found)))


def hairpins(
    topology: Topology, layout: Layout, published: Iterable[PublishedPort], facts: Facts
) -> frozenset[str]:
    """Links on the host whose node, as a client of a published port, is led back to itself or behind itself.

    The host's IP does that if it sees the packet first. If IP chains see bridged frames, DNAT happens in the
    bridge, which sends nothing back unless its port is in hairpin mode.
    """
    if not facts.bridged_frames:
        return frozenset()
    bridges = {port.bridge for port in published}
    asking = routers(topology).union(node.name for node in topology.nodes.values() if node.publish)
    return frozenset(
        nic.host_link
        for node in asking
        for nic in layout.nics[node]
        if layout.segments[nic.segment].bridge in bridges
    )


def publish_key(publish: Publish) -> str:
    """A key that only one of a host's fabrics can publish: tcp/*/8080."""
    return f"{publish.protocol}/{publish.host_address or '*'}/{publish.host_port}"


def lease_of(publish: Publish) -> Lease:
    """What keeps other fabrics from publishing the same port."""
    return Lease("publish", publish_key(publish), str(publish.node_port))


def _area(segment: Segment, network: Network, mac: str, behind: Iterable[Prefix]) -> Area:
    from netfab.plan.firewall import Area

    return Area(
        segment.bridge,
        mac,
        (*segment.prefixes, *behind),
        host_is_gateway(network),
        network.masquerade,
        network.internal,
        network.isolated,
    )


def _with_uplink(area: Area, layout: Layout, segment: Segment, facts: Facts) -> Area:
    """The area with a NIC of the host as a port.

    On a subnet that is the NIC's, too, only the addresses of its nodes are its own.
    """
    original = original_of(segment.spec, facts)
    if original is None:
        return area
    here = [nic for nics in layout.nics.values() for nic in nics if nic.segment == segment.name]
    nodes = tuple(ip_network(interface.ip) for nic in here for interface in nic.addresses)
    outside = [
        prefix for kept in original.addresses for prefix in area.prefixes if address_of(kept) in prefix
    ]
    members = [prefix for prefix in area.prefixes if prefix not in outside]
    return area._replace(
        uplink=True, passes=forwards(original), members=(*members, *(nodes if outside else ()))
    )


def _behind(routes: Iterable[Route]) -> dict[str, list[Prefix]]:
    """Prefixes that the host reaches through routers, by bridge."""
    found: dict[str, list[Prefix]] = {}
    for route in routes:
        if route.space == HOST:
            for hop in route.hops:
                found.setdefault(hop.link.text, []).append(route.destination)
    return found


def _guarded(topology: Topology, layout: Layout, routes: Sequence[Route]) -> Iterator[GuardedPort]:
    forwarding = routers(topology)
    through = _Through(topology, layout, routes) if forwarding else None
    for node, nics in layout.here.items():
        for nic in nics:
            if nic.host_link:
                routed = tuple(through.prefixes(nic)) if through and node in forwarding else ()
                yield _guard_of(nic, layout, layout.loopbacks.get(node, ()), routed)


def _guard_of(
    nic: Nic, layout: Layout, loopbacks: Iterable[Address], routed: tuple[Prefix, ...]
) -> GuardedPort:
    """What the nic's node may send: its own addresses, `allow`, and for a router what is behind it."""
    from netfab.plan.guard import GuardedPort

    if nic.port.spoof == "allow":
        return GuardedPort(nic.host_link, guard="none")
    macs, prefixes = [nic.mac], list(routed)
    addresses = [*(interface.ip for interface in nic.addresses), *loopbacks]
    for allowed in nic.port.allow:
        if len(allowed) == 17 and allowed.count(":") == 5:
            macs.append(allowed)
        elif "/" in allowed:
            prefixes.append(ip_network(allowed))
        else:
            addresses.append(ip_address(allowed))
    if layout.segments[nic.segment].ipv6:
        addresses += map(link_local, macs)
    unaddressed = not nic.addresses and not layout.segments[nic.segment].prefixes
    kind: Literal["mac", "all"] = "mac" if unaddressed or nic.port.no_address or nic.port.dhcp else "all"
    return GuardedPort(nic.host_link, tuple(macs), tuple(addresses), tuple(prefixes), kind)


class _Through:
    """The sources of packets that routers forward."""

    def __init__(self, topology: Topology, layout: Layout, routes: Iterable[Route]) -> None:
        self._fabric, self._layout = topology.name, layout
        self._ways_out: dict[
            tuple[str, Prefix], set[str]
        ] = {}  # interfaces by which each default route leaves
        written = [spec.destination for node in topology.nodes.values() for spec in node.routes]
        self._prefixes = [prefix for prefix in written if prefix is not None and prefix.prefixlen]
        self._prefixes += map(ip_network, {a for held in layout.loopbacks.values() for a in held})
        for route in routes:
            if route.destination in _ANYWHERE:
                way = self._ways_out.setdefault((route.space, route.destination), set())
                way |= {hop.link.text for hop in route.hops}

    def prefixes(self, nic: Nic) -> Iterator[Prefix]:
        """Any, unless the node's way out is there, too: then the fabric's other prefixes.

        From an isolated network nothing comes back to it through its router.
        """
        segment = self._layout.segments[nic.segment]
        isolated = segment.prefixes if isinstance(segment.spec, Network) and segment.spec.isolated else ()
        for anywhere in _ANYWHERE:
            out = self._ways_out.get((node_space(self._fabric, nic.node), anywhere))
            if out and nic.name not in out:
                yield from _without(anywhere, isolated)
        for name, other in self._layout.segments.items():
            if name != nic.segment:
                yield from other.prefixes
        yield from self._prefixes


def _without(prefix: Prefix, parts: Iterable[Prefix]) -> Iterator[Prefix]:
    """The prefix minus those of the parts that are in it."""
    for part in parts:
        if part.version == prefix.version:
            yield from prefix.address_exclude(part)  # type: ignore[arg-type]  # `version` says one family
            return
    yield prefix


def _published(
    layout: Layout, by_host: Sequence[Route], node: Node, publish: Publish
) -> Iterator[PublishedPort]:
    """One for each family: that of its address on the host, else both."""
    from netfab.plan.firewall import PublishedPort

    host = publish.host_address
    reached = False
    for family in (4, 6) if host is None else (host.version,):
        way = _way_to(layout, by_host, node.name, family)
        if way is not None:
            address, bridge = way
            reached = True
            at = None if host is None or host.is_unspecified else host
            yield PublishedPort(publish.protocol, at, publish.host_port, address, publish.node_port, bridge)
    if not reached:
        raise PlanError(
            f"{node.name} publishes port {publish.host_port}, and the host has no way to it",
            at=publish.at,
            hint="put it on a network with `gateway: host` that is not `internal`, or behind a router of one",
        )


def _way_to(layout: Layout, by_host: Iterable[Route], node: str, family: int) -> tuple[Address, str] | None:
    """An address of the node, preferably on its default route's network, and the host's bridge to it."""
    for nic in sorted(layout.nics[node], key=lambda nic: not nic.port.gateway):
        segment = layout.segments[nic.segment]
        if isinstance(segment.spec, Network) and segment.spec.internal:
            continue
        for interface in nic.addresses:
            if interface.version == family:
                if host_is_gateway(segment.spec):
                    return interface.ip, segment.bridge
                for route in by_host:
                    if interface.ip in route.destination:
                        return interface.ip, route.hops[0].link.text
    return None
