"""Everything that is chosen before a single object is made: subnets, addresses, names, MACs, MTUs.

Holds what is leased, checks what is written, and takes what is free; says which leases the plan wants. Routes are
routing.py's, objects are network.py's and node.py's.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address, ip_interface, ip_network
from typing import NamedTuple

from netfab.errors import NetfabError, PlanError, SubnetTaken, raise_all
from netfab.plan.addresses import Addresses, usable
from netfab.plan.facts import Facts, Lease
from netfab.plan.names import bridge_name, host_link, mac_of
from netfab.plan.subnets import Reservation, Space, ula
from netfab.topology.schema import (
    PLANNED,
    Address,
    Bridged,
    ExternalGateway,
    HostGateway,
    Interface,
    Link,
    Network,
    NodeGateway,
    Places,
    Planned,
    Pool,
    Port,
    Prefix,
    SubnetWish,
    Topology,
)

BRIDGE_PORTS = 1023  # BR_MAX_PORTS less one; the next fails with EXFULL
MIN_MTU = 1280
LOOPBACKS = "*loopback"


class Segment(NamedTuple):
    """One network or link."""

    name: str
    wish: Network | Link
    bridge: str  # "" on a link
    prefixes: tuple[Prefix, ...]  # at most one per family
    host_addresses: tuple[Interface, ...]  # the bridge's
    gateways: tuple[Address, ...]  # what its members' default routes point at, one per family; () = none
    mtu: int
    with_host: bool  # the host is on it, or routes to it

    @property
    def ipv6(self) -> bool:
        """Whether IPv6 is on: with a prefix, or, without IPv4, link-local only."""
        return all(prefix.version == 6 for prefix in self.prefixes) or len(self.prefixes) > 1


class Nic(NamedTuple):
    """A node's interface, with everything chosen."""

    node: str
    name: str
    segment: str
    port: Port
    mac: str
    mtu: int
    addresses: tuple[Interface, ...]
    host_link: str  # the host's end; "" on a link


class Layout(NamedTuple):
    """What is chosen."""

    segments: Mapping[str, Segment]
    nics: Mapping[str, tuple[Nic, ...]]  # by node, in the order of their interfaces
    loopbacks: Mapping[str, tuple[Address, ...]]
    wants: frozenset[Lease]
    warnings: tuple[str, ...]


class _Seat(NamedTuple):
    """A nic before it has addresses: which port of which node, on what."""

    node: str
    name: str
    segment: str
    port: Port
    key: str  # SEGMENT/NODE#k: stable whatever else changes
    at: Places


def lay_out(topology: Topology, leases: Iterable[Lease], facts: Facts) -> Layout:
    """Choose. Raises PlanError and its kin, all that is found at once."""
    held = {(lease.kind, lease.key): lease.value for lease in leases}
    wants: set[Lease] = set()
    warnings: list[str] = []
    seats = _seats(topology)
    by_segment: dict[str, list[_Seat]] = defaultdict(list)
    for seat in seats:
        by_segment[seat.segment].append(seat)
    _refuse_crowds(topology, by_segment)
    reach = host_reach(topology)
    prefixes = _subnets(topology, by_segment, reach, held, facts, wants, warnings)
    errors: list[NetfabError] = []
    segments: dict[str, Segment] = {}
    addresses: dict[str, tuple[Interface, ...]] = {}
    taken = set(facts.links) | {n.bridge for n in topology.networks.values() if n.bridge is not PLANNED}
    for name, wish in _wishes(topology):
        try:
            pools = [Addresses(prefix, _range(wish, prefix)) for prefix in prefixes[name]]
            host, gateways = _gateways(wish, pools)
            chosen = _addresses(by_segment[name], wish, pools, held, wants)
            addresses |= chosen
            if isinstance(wish, Network) and isinstance(wish.gateway, NodeGateway):
                gateways = _node_gateways(wish.gateway.node, by_segment[name], chosen)
        except NetfabError as error:
            errors.append(error)
            continue
        bridge = ""
        if isinstance(wish, Network):
            bridge = _bridge(topology.name, wish, held, taken)
            wants.add(Lease("bridge", name, bridge))
        mtu = wish.mtu if isinstance(wish, Network) and not isinstance(wish.mtu, Planned) else max(facts.mtu, MIN_MTU)
        segments[name] = Segment(name, wish, bridge, tuple(prefixes[name]), host, gateways, mtu, name in reach)
    raise_all(errors)
    loopbacks = _loopbacks(topology, held, facts, wants)
    nics: dict[str, list[Nic]] = {node: [] for node in topology.nodes}
    for seat in seats:
        nics[seat.node].append(_nic(topology, seat, segments[seat.segment], addresses[seat.key], facts))
    return Layout(segments, {node: tuple(of) for node, of in nics.items()}, loopbacks, frozenset(wants), tuple(warnings))


def segment_names(topology: Topology) -> list[str]:
    """A name for each link, unique among parallel ones."""
    seen: Counter[str] = Counter()
    names = []
    for link in topology.links:
        seen[link.name] += 1
        names.append(link.name if seen[link.name] == 1 else f"{link.name} #{seen[link.name]}")
    return names


def _wishes(topology: Topology) -> Iterator[tuple[str, Network | Link]]:
    yield from topology.networks.items()
    yield from zip(segment_names(topology), topology.links, strict=True)


def _seats(topology: Topology) -> list[_Seat]:
    """Every interface of every node: networks in written order, links after; eth0, eth1 …, skipping written names."""
    of: dict[str, list[tuple[str, Port, Places]]] = {
        node.name: [(a.network, a.port, a.at) for a in node.attachments] for node in topology.nodes.values()
    }
    for name, link in zip(segment_names(topology), topology.links, strict=True):
        for end in link.ends:
            of[end.node].append((name, end.port, end.at))
    seats = []
    for node, entries in of.items():
        written = {port.name for _, port, _ in entries}
        free = (f"eth{n}" for n in range(len(entries) + len(written)) if f"eth{n}" not in written)
        again: Counter[str] = Counter()
        for segment, port, at in entries:
            again[segment] += 1
            name = next(free) if isinstance(port.name, Planned) else port.name
            seats.append(_Seat(node, name, segment, port, f"{segment}/{node}#{again[segment]}", at))
    return seats


def _refuse_crowds(topology: Topology, by_segment: Mapping[str, list[_Seat]]) -> None:
    raise_all(
        PlanError(
            f"{len(by_segment[name])} interfaces on one bridge, which holds {BRIDGE_PORTS}",
            at=network.at.own,
            hint="split it into several networks with a router between them",
        )
        for name, network in topology.networks.items()
        if len(by_segment[name]) > BRIDGE_PORTS
    )


def routers(topology: Topology) -> frozenset[str]:
    """Nodes that forward: named by a `gateway:`, or with `forward: true`."""
    named = {n.gateway.node for n in topology.networks.values() if isinstance(n.gateway, NodeGateway)}
    return frozenset(named | {node.name for node in topology.nodes.values() if node.forward})


def host_reach(topology: Topology) -> frozenset[str]:
    """Segments that the host is on (it is their gateway), or reaches through routers from there."""
    forwards = routers(topology)
    on: dict[str, list[str]] = defaultdict(list)
    for seat in _seats(topology):
        if seat.node in forwards:
            on[seat.node].append(seat.segment)
    reach = {name for name, network in topology.networks.items() if isinstance(network.gateway, HostGateway)}
    grew = True
    while grew:
        grew = False
        for segments in on.values():
            if not reach.isdisjoint(segments) and not reach.issuperset(segments):
                reach.update(segments)
                grew = True
    return frozenset(reach)


def _subnets(
    topology: Topology,
    by_segment: Mapping[str, list[_Seat]],
    reach: frozenset[str],
    held: Mapping[tuple[str, str], str],
    facts: Facts,
    wants: set[Lease],
    warnings: list[str],
) -> dict[str, list[Prefix]]:
    """The prefixes of every segment: what is leased or written is held first, then the rest is planned in file order."""
    chosen: dict[tuple[str, int], Prefix] = {}
    to_plan: list[tuple[str, SubnetWish, int, Places]] = []
    errors: list[NetfabError] = []
    mine: list[Reservation] = []
    for name, wish in _wishes(topology):
        for subnet in wish.subnets:
            family = subnet.family if isinstance(subnet, SubnetWish) else subnet.version
            lease = held.get(("subnet", f"{name}/{family}")) or held.get(("shared", f"{name}/{family}"))
            leased = ip_network(lease) if lease else None
            written = subnet if not isinstance(subnet, SubnetWish) else _implied(subnet, by_segment[name], topology)
            if written is not None:
                try:
                    _check_written(written, name, wish, name in reach, leased, facts, mine, warnings)
                except SubnetTaken as error:
                    errors.append(error)
                chosen[name, family] = written
            elif leased is not None and isinstance(subnet, SubnetWish) and subnet.size in (None, leased.prefixlen):
                chosen[name, family] = leased
                warnings += _shadowed(leased, name, facts)
            else:
                to_plan.append((name, subnet, len(by_segment[name]) + 1, wish.at))  # type: ignore[arg-type]
                continue
            mine.append(Reservation(chosen[name, family], f"{_what(wish)} {name} of this file"))
            kind = "shared" if written is not None and name not in reach else "subnet"
            wants.add(Lease(kind, f"{name}/{family}", str(chosen[name, family])))
    raise_all(errors)
    taken = [*facts.reservations, *mine, *(Reservation(prefix, "avoid") for prefix in topology.avoid)]
    spaces = {4: Space(4, topology.pools, taken), 6: Space(6, _pools6(topology, facts), taken)}
    for name, subnet, members, at in to_plan:
        space = spaces[subnet.family]
        holder = f"{name} of this file"
        try:
            length = subnet.size or (None if name in topology.networks else {4: 31, 6: 127}[subnet.family])
            if subnet.family == 6 and length is None:
                length = 64
            prefix = space.take_for(members, holder) if length is None else space.take(length, holder)
        except PlanError as error:
            error.at = error.at or at.of("subnet")
            errors.append(error)
            continue
        chosen[name, subnet.family] = prefix
        wants.add(Lease("subnet", f"{name}/{subnet.family}", str(prefix)))
    raise_all(errors)
    return {
        name: [chosen[name, family] for family in (4, 6) if (name, family) in chosen] for name, _ in _wishes(topology)
    }


def _pools6(topology: Topology, facts: Facts) -> list[Pool]:
    written = [pool for pool in topology.pools if pool.prefix.version == 6]
    return written or [Pool(ula(f"{facts.machine}/{topology.name}"), 64, topology.at.own)]


def _implied(subnet: SubnetWish, seats: Iterable[_Seat], topology: Topology) -> Prefix | None:
    """The subnet that written addresses stand for where none is written: the block around them."""
    for seat in seats:
        for address in seat.port.addresses:
            if address.version == subnet.family:
                if not seat.port.plain:
                    return address.network
                size = subnet.size or max((pool.size for pool in topology.pools if address.ip in pool.prefix), default=24)
                return ip_network((address.ip, size if subnet.family == 4 else 64), strict=False)
    return None


def _check_written(
    prefix: Prefix,
    name: str,
    wish: Network | Link,
    with_host: bool,
    leased: Prefix | None,
    facts: Facts,
    mine: Iterable[Reservation],
    warnings: list[str],
) -> None:
    """A written subnet overlaps nothing; where the host has no part in it, nothing within its file."""
    others = [*mine, *facts.reservations] if with_host else mine
    for other in others:
        if other.prefix.version == prefix.version and other.prefix.overlaps(prefix):
            if leased == prefix and other in facts.reservations:
                warnings.append(f"{prefix} of {name} is now also {other.prefix}, {other.holder}")
            else:
                raise SubnetTaken(
                    f"{prefix} overlaps {other.prefix}, {other.holder}",
                    at=wish.at.of("subnet"),
                    hint="leave `subnet` out to have a free one planned",
                )


def _shadowed(leased: Prefix, name: str, facts: Facts) -> list[str]:
    return [
        f"{leased} of {name} is now also {other.prefix}, {other.holder}; nothing moves by itself"
        for other in facts.reservations
        if other.prefix.version == leased.version and other.prefix.overlaps(leased)
    ]


def _what(wish: Network | Link) -> str:
    return "network" if isinstance(wish, Network) else "link"


def _range(wish: Network | Link, prefix: Prefix) -> Prefix | None:
    if isinstance(wish, Link):
        return None
    return next((part for part in wish.range if part.version == prefix.version), None)


def _gateways(wish: Network | Link, pools: list[Addresses]) -> tuple[tuple[Interface, ...], tuple[Address, ...]]:
    """The bridge's own addresses, and what members' default routes point at; both held."""
    if isinstance(wish, Link):
        return (), ()
    if isinstance(wish.gateway, ExternalGateway):
        for address in wish.gateway.addresses:
            _pool_of(address, pools, wish).hold(address, "the gateway")
        return (), wish.gateway.addresses
    if not isinstance(wish.gateway, HostGateway):
        return (), ()
    host = []
    for pool in pools:
        written = [a for a in wish.gateway.addresses if a.version == pool.prefix.version]
        address = written[0] if written else _first(pool.prefix)
        pool.hold(address, "the gateway, the host")
        host.append(ip_interface(f"{address}/{pool.prefix.prefixlen}"))
    return tuple(host), tuple(interface.ip for interface in host)


def _first(prefix: Prefix) -> Address:
    first, _ = usable(prefix)
    return ip_address(int(first)) if prefix.version == 4 else type(prefix.network_address)(int(first))


def _pool_of(address: Address, pools: Iterable[Addresses], wish: Network | Link) -> Addresses:
    for pool in pools:
        if address in pool.prefix:
            return pool
    subnets = ", ".join(str(pool.prefix) for pool in pools) or "none"
    raise PlanError(f"{address} is not in the subnet of {_what(wish)} {wish.name} ({subnets})", at=wish.at.own)


def _addresses(
    seats: list[_Seat],
    wish: Network | Link,
    pools: list[Addresses],
    held: Mapping[tuple[str, str], str],
    wants: set[Lease],
) -> dict[str, tuple[Interface, ...]]:
    """The addresses of each seat: written ones are held first, then the gateway's, then leased ones, then free ones."""
    chosen: dict[tuple[str, int], list[Interface]] = defaultdict(list)
    for seat in seats:
        for written in seat.port.addresses:
            pool = next((pool for pool in pools if written.ip in pool.prefix), None)
            if pool is None and seat.port.plain:
                subnets = ", ".join(str(pool.prefix) for pool in pools) or "none"
                raise PlanError(
                    f"{written.ip} is not in the subnet of {_what(wish)} {wish.name} ({subnets})", at=seat.at.of("ip")
                )
            if pool is not None:
                pool.hold(written.ip, f"node {seat.node}")
            length = pool.prefix.prefixlen if pool is not None and seat.port.plain else written.network.prefixlen
            chosen[seat.key, written.version].append(ip_interface(f"{written.ip}/{length}"))
    for pool in pools:
        family = pool.prefix.version
        open_seats = [
            seat for seat in seats if not seat.port.no_address and not seat.port.dhcp and not chosen[seat.key, family]
        ]
        gateway = wish.gateway.node if isinstance(wish, Network) and isinstance(wish.gateway, NodeGateway) else None
        first = next((seat for seat in open_seats if seat.node == gateway), None)
        if first is not None:
            _give(first, pool, _first(pool.prefix), chosen, wants)
            open_seats.remove(first)
        elif isinstance(wish, Network) and gateway is not None and pool.prefix.num_addresses > 2:
            pass  # the router wrote its own address
        rest = []
        for seat in open_seats:
            lease = held.get(("address", f"{seat.key}/{family}"))
            if lease and (address := ip_address(lease)) in pool.prefix and pool.is_free(address):
                _give(seat, pool, address, chosen, wants)
            else:
                rest.append(seat)
        for seat in rest:
            _give(seat, pool, pool.take(f"node {seat.node}"), chosen, wants, hold=False)
    return {
        seat.key: tuple(address for pool in pools or () for address in chosen[seat.key, pool.prefix.version])
        or tuple(address for family in (4, 6) for address in chosen[seat.key, family])
        for seat in seats
    }


def _give(
    seat: _Seat,
    pool: Addresses,
    address: Address,
    chosen: dict[tuple[str, int], list[Interface]],
    wants: set[Lease],
    hold: bool = True,
) -> None:
    if hold:
        pool.hold(address, f"node {seat.node}")
    chosen[seat.key, address.version].append(ip_interface(f"{address}/{pool.prefix.prefixlen}"))
    wants.add(Lease("address", f"{seat.key}/{address.version}", str(address)))


def _node_gateways(
    node: str, seats: Iterable[_Seat], chosen: Mapping[str, tuple[Interface, ...]]
) -> tuple[Address, ...]:
    """The first address of each family that the gateway node has on the network."""
    own = [address.ip for seat in seats if seat.node == node for address in chosen[seat.key]]
    return tuple(next(a for a in own if a.version == family) for family in sorted({a.version for a in own}))


def _bridge(fabric: str, network: Network, held: Mapping[tuple[str, str], str], taken: set[str]) -> str:
    if not isinstance(network.bridge, Planned):
        return network.bridge
    leased = held.get(("bridge", network.name))
    name = leased if leased and leased not in taken else bridge_name(fabric, network.name, taken)
    taken.add(name)
    return name


def _loopbacks(
    topology: Topology, held: Mapping[tuple[str, str], str], facts: Facts, wants: set[Lease]
) -> dict[str, tuple[Address, ...]]:
    """Written loopbacks as they are; planned ones out of one subnet that is leased for all of them."""
    found = {n.name: n.loopback for n in topology.nodes.values() if not isinstance(n.loopback, Planned) and n.loopback}
    planned = [node.name for node in topology.nodes.values() if node.loopback is PLANNED]
    if not planned:
        return found
    key = f"{LOOPBACKS}/4"
    if leased := held.get(("subnet", key)):
        prefix = ip_network(leased)
    else:
        taken = [*facts.reservations, *(Reservation(p, "avoid") for p in topology.avoid)]
        taken += [Reservation(ip_network(lease.value), lease.key) for lease in wants if lease.kind in ("subnet", "shared")]
        prefix = Space(4, topology.pools, taken).take_for(len(planned), "loopbacks of this file")
    wants.add(Lease("subnet", key, str(prefix)))
    pool = Addresses(prefix)
    kept = {name: ip_address(held["address", f"{LOOPBACKS}/{name}/4"]) for name in planned
            if ("address", f"{LOOPBACKS}/{name}/4") in held}  # fmt: skip
    for name, address in kept.items():
        pool.hold(address, f"node {name}")
    for name in planned:
        address = kept.get(name) or pool.take(f"node {name}")
        wants.add(Lease("address", f"{LOOPBACKS}/{name}/4", str(address)))
        found[name] = (address,)
    return found


def _nic(topology: Topology, seat: _Seat, segment: Segment, addresses: tuple[Interface, ...], facts: Facts) -> Nic:
    fabric, port = topology.name, seat.port
    mac = mac_of(fabric, seat.node, seat.name) if isinstance(port.mac, Planned) else port.mac
    mtu = segment.mtu if isinstance(port.mtu, Planned) else port.mtu
    host = "" if isinstance(segment.wish, Link) else host_link(fabric, seat.node, seat.name)
    return Nic(seat.node, seat.name, seat.segment, port, mac, mtu, addresses, host)


def bridged(topology: Topology) -> list[str]:
    """Nodes with a namespace of their own and interfaces."""
    return [node.name for node in topology.nodes.values() if isinstance(node.mode, Bridged)]
