"""Everything that is chosen before any object is made: subnets, addresses, names, MACs, MTUs.

Keeps what is leased, checks what is written, takes what is free, and says which leases the plan claims.
Routes are in routing.py, objects in network.py and node.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from netfab.errors import NetfabError, PlanError, raise_all
from netfab.plan.addresses import Addresses, Assigned
from netfab.plan.assign import (
    addresses_of,
    gateways_of,
    hold_foreign,
    loopbacks_of,
    node_gateways,
    range_of,
)
from netfab.plan.facts import Facts
from netfab.plan.leases import Lease
from netfab.plan.mtu import IPV6_MTU, port_mtu, segment_mtu
from netfab.plan.names import bridge_name, host_link, mac_of
from netfab.plan.prefixes import Prefixes, choose_prefixes
from netfab.plan.refusals import on_every_host, refuse_before
from netfab.plan.seats import LOOPBACKS, Seat, host_reach, host_seats, seats_of, specs
from netfab.plan.uplink import held_by_host, original_of
from netfab.topology.schema import (
    PLANNED,
    Address,
    Link,
    Network,
    NodeGateway,
    Planned,
    Port,
    Prefix,
    Topology,
)
from netfab.tuples import NamedTuple

if TYPE_CHECKING:
    from netfab.plan.tunnels import Tunnel


class Segment(NamedTuple):
    """One network or link."""

    name: str
    spec: Network | Link  # from the file
    bridge: str  # "" on a link
    prefixes: tuple[Prefix, ...]  # at most one per family
    host_addresses: tuple[Assigned, ...]  # the bridge's, or those of the host's end of a link
    gateways: tuple[Address, ...]  # the next hops of members' default routes, one per family; () = none
    mtu: int
    ipv6: bool  # enabled: with a prefix, or, without IPv4, link-local only
    station: str = ""  # the bridge's MAC, if it once had a NIC; "" = derived
    # With `hosts`: those that it is on, with their bridges' addresses; whether the one planned for is one of
    # them; and how it gets from one to another.
    hosts: Mapping[str, tuple[Assigned, ...]] = {}
    here: bool = True
    tunnel: Tunnel | None = None
    stations: Mapping[str, str] = {}  # the station of each host that has one


class Span(NamedTuple):
    """Where a network or link is, with `hosts`, and what it must respect there."""

    hosts: tuple[str, ...]
    facts: Facts
    tunnel: Tunnel | None = None
    held: Mapping[Address, str] = {}  # by the hosts themselves, behind NICs that are ports of its bridges
    stations: Mapping[str, str] = {}  # MACs of bridges that have such a NIC, or had one


class Nic(NamedTuple):
    """A node's interface, with everything decided."""

    node: str
    name: str
    segment: str
    port: Port
    mac: str
    mtu: int
    addresses: tuple[Assigned, ...]
    host_link: str  # the host's end; "" on a link


class Layout(NamedTuple):
    """Everything that was decided."""

    segments: Mapping[str, Segment]
    nics: Mapping[str, tuple[Nic, ...]]  # by node, in the order of their interfaces
    loopbacks: Mapping[str, tuple[Address, ...]]
    claims: frozenset[Lease]
    prefixes: Prefixes
    host: str = ""  # the one planned for, with `hosts`
    runs_on: Mapping[str, str] = {}  # node -> host

    here: Mapping[str, tuple[Nic, ...]] = {}  # of nics: those of nodes on that host

    def has(self, node: str) -> bool:
        """Whether the node is on the host planned for."""
        return node in self.here


def lay_out(
    topology: Topology, leases: Iterable[Lease], facts: Facts, spans: Mapping[str, Span] | None = None
) -> Layout:
    """Decide everything. Raises PlanError and its subclasses, all errors at once.

    With `spans`, of each network and link, for all hosts together, to which the facts then refer.
    """
    spans = spans or {}
    held = {(lease.kind, lease.key): lease.value for lease in leases}
    seats = seats_of(topology)
    by_segment = _by_segment(topology, seats)
    refuse_before(topology, by_segment, facts)
    prefixes = choose_prefixes(topology, by_segment, host_reach(topology, by_segment), held, facts)
    bridges = _bridges(topology, held, facts)
    claims = {*prefixes.claims(), *_bridge_leases(topology, bridges)}
    if spans:
        claims |= set(_vni_leases(topology, spans, held))
    segments: dict[str, Segment] = {}
    addresses: dict[str, tuple[Assigned, ...]] = {}
    errors: list[NetfabError] = []
    for name, spec in specs(topology):
        span = spans.get(name) or Span((), facts)
        on_hosts = host_seats(spec, span.hosts)
        try:
            pools = [Addresses(prefix, range_of(spec, prefix)) for prefix in prefixes.of(name)]
            others = {**facts.held.get(bridges.get(name, ""), {}), **held_by_host(spec, facts), **span.held}
            hold_foreign(pools, others, spec)
            host, gateways = ((), ()) if on_hosts else gateways_of(spec, pools)
            chosen = addresses_of([*on_hosts, *by_segment[name]], spec, pools, held, claims)
        except NetfabError as error:
            errors.append(error)
            continue
        addresses |= chosen
        if isinstance(spec, Network) and isinstance(spec.gateway, NodeGateway):
            gateways = node_gateways(spec.gateway.node, by_segment[name], chosen)
        own, mtu = tuple(pool.prefix for pool in pools), segment_mtu(spec, span.facts)
        ipv6 = span.facts.ipv6 and mtu >= IPV6_MTU and _takes_ipv6(own)
        if station := _station(spec, held, facts):
            claims.add(Lease("mac", name, station))
        claims |= {Lease("mac", f"{name}/@{on}", mac) for on, mac in span.stations.items()}
        segments[name] = Segment(
            name,
            spec,
            bridges.get(name, ""),
            own,
            host,
            gateways,
            mtu,
            ipv6,
            station,
            hosts={on: chosen.get(f"{name}/@{on}", ()) for on in span.hosts},
            tunnel=span.tunnel,
            stations=span.stations,
        )
    raise_all(errors)
    loopbacks = loopbacks_of(topology, by_segment, prefixes, held, claims, facts.held.get(LOOPBACKS, {}))
    nics: dict[str, list[Nic]] = {node: [] for node in topology.nodes}
    for seat in seats:
        own_facts = spans[seat.segment].facts if spans else facts
        nic = _nic(topology.name, seat, segments[seat.segment], addresses[seat.key], own_facts)
        nics[seat.node].append(nic)
    by_node = {node: tuple(of) for node, of in nics.items()}
    return Layout(segments, by_node, loopbacks, frozenset(claims), prefixes, here=by_node)


def _bridge_leases(topology: Topology, bridges: Mapping[str, str]) -> Iterator[Lease]:
    """The names of the fabric's own bridges."""
    for name, bridge in bridges.items():
        if not topology.networks[name].external:
            yield Lease("bridge", name, bridge)


def tunnels_here(layout: Layout) -> list[tuple[Segment, Tunnel]]:
    """The networks on the layout's host that extend to others."""
    return [
        (segment, segment.tunnel)
        for segment in layout.segments.values()
        if segment.tunnel is not None and segment.here
    ]


def _vni_leases(
    topology: Topology, spans: Mapping[str, Span], held: Mapping[tuple[str, str], str]
) -> Iterator[Lease]:
    """Of networks with tunnels; the lease of one that is on a single host for now is kept."""
    from netfab.plan.tunnels import vni_key

    for name, span in spans.items():
        network = topology.networks.get(name)
        key = vni_key(network) if network else name
        if span.tunnel or ("vni", key) in held:
            yield Lease("vni", key, str(span.tunnel.vni) if span.tunnel else held["vni", key])


def refuse_on_every_host(topology: Topology) -> None:
    """Raises PlanError and its subclasses for what can't be planned on any host; reads none."""
    if topology.reserved:  # their effect is not known yet
        return
    by_segment = _by_segment(topology, seats_of(topology))
    raise_all(on_every_host(topology, by_segment))
    choose_prefixes(topology, by_segment, host_reach(topology, by_segment), {}, Facts())


def _by_segment(topology: Topology, seats: Iterable[Seat]) -> dict[str, list[Seat]]:
    found: dict[str, list[Seat]] = {name: [] for name, _ in specs(topology)}
    for seat in seats:
        found[seat.segment].append(seat)
    return found


def _takes_ipv6(prefixes: tuple[Prefix, ...]) -> bool:
    versions = {prefix.version for prefix in prefixes}
    return 6 in versions or not versions


def _station(spec: Network | Link, held: Mapping[tuple[str, str], str], facts: Facts) -> str:
    """A bridge keeps the MAC of the NIC that it had.

    If it changed while the NIC goes back, neighbours would learn an address at which nobody is.
    """
    original = original_of(spec, facts)
    return original.mac if original else held.get(("mac", spec.name), "")


def _bridges(topology: Topology, held: Mapping[tuple[str, str], str], facts: Facts) -> dict[str, str]:
    """The bridge of each network. Raises PlanError if a written name is already another network's."""
    written = {n.bridge: n for n in topology.networks.values() if not isinstance(n.bridge, Planned)}
    there = {*facts.links, *written}
    taken = {*there, *facts.bridges}
    found: dict[str, str] = {}
    errors: list[NetfabError] = []
    for network in topology.networks.values():
        if not isinstance(network.bridge, Planned):
            found[network.name] = network.bridge
            continue
        leased = held.get(("bridge", network.name), "")
        if leased in written:
            message = f"the bridge {leased} is network {network.name}'s; choose another name"
            errors.append(PlanError(message, at=written[leased].at.of("bridge")))
        name = leased if leased and leased not in there else bridge_name(topology.name, network.name, taken)
        found[network.name] = name
        there.add(name)
        taken.add(name)
    raise_all(errors)
    return found


def _nic(fabric: str, seat: Seat, segment: Segment, addresses: tuple[Assigned, ...], facts: Facts) -> Nic:
    port = seat.port
    mac = _mac(fabric, seat, segment.spec, facts) if port.mac is PLANNED else port.mac
    mtu = port_mtu(port, segment.mtu)
    host = port.host_link or host_link(fabric, seat.node, seat.name) if segment.bridge else ""
    return Nic(seat.node, seat.name, seat.segment, port, mac, mtu, addresses, host)


def _mac(fabric: str, seat: Seat, spec: Network | Link, facts: Facts) -> str:
    """A NIC keeps its own; behind one, machines with the same file, or the same containers, must differ."""
    if isinstance(spec, Network) and (spec.uplink or not spec.guarded):
        return mac_of(facts.machine, fabric, seat.node, seat.name)
    outside = spec.outside if isinstance(spec, Link) else None
    if outside is None or outside.kind == "host":
        return mac_of(fabric, seat.node, seat.name)
    if outside.kind == "nic":
        return facts.nics[outside.device].original.mac
    return mac_of(facts.machine, fabric, seat.node, seat.name)
