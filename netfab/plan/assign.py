"""Which address each seat has: written ones are held first, then the gateway's, then leased ones, then free ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_interface, ip_network

from netfab.errors import Location, PlanError
from netfab.plan.addresses import Addresses, usable
from netfab.plan.facts import Facts, Lease
from netfab.plan.prefixes import what
from netfab.plan.seats import Seat
from netfab.plan.subnets import Reservation, Space
from netfab.topology.schema import (
    PLANNED,
    Address,
    ExternalGateway,
    HostGateway,
    Interface,
    Link,
    Network,
    NodeGateway,
    Planned,
    Prefix,
    Topology,
)

LOOPBACKS = "*loopback"


def range_of(wish: Network | Link, prefix: Prefix) -> Prefix | None:
    """Where dynamic addresses of that prefix come from; None: from all of it."""
    if isinstance(wish, Link):
        return None
    return next((part for part in wish.range if part.version == prefix.version), None)


def gateways_of(
    wish: Network | Link, pools: list[Addresses]
) -> tuple[tuple[Interface, ...], tuple[Address, ...]]:
    """The bridge's own addresses, and what members' default routes point at; both held."""
    if isinstance(wish, Link) or not isinstance(wish.gateway, HostGateway | ExternalGateway):
        return (), ()
    at = wish.at.of("gateway")
    written = list(wish.gateway.addresses)
    if isinstance(wish.gateway, HostGateway):
        families = {address.version for address in written}
        written += [_first(pool.prefix) for pool in pools if pool.prefix.version not in families]
    interfaces = []
    for address in written:
        pool = _pool_of(address, pools, wish, at)
        _hold(pool, address, "the gateway", at)
        interfaces.append(ip_interface(f"{address}/{pool.prefix.prefixlen}"))
    host = tuple(interfaces) if isinstance(wish.gateway, HostGateway) else ()
    return host, tuple(interface.ip for interface in interfaces)


def _first(prefix: Prefix) -> Address:
    first, _ = usable(prefix)
    return type(prefix.network_address)(first)


def _pool_of(address: Address, pools: Iterable[Addresses], wish: Network | Link, at: Location) -> Addresses:
    for pool in pools:
        if address in pool.prefix:
            return pool
    subnets = ", ".join(str(pool.prefix) for pool in pools) or "none"
    raise PlanError(f"{address} is not in the subnet of {what(wish)} {wish.name} ({subnets})", at=at)


def _hold(pool: Addresses, address: Address, holder: str, at: Location) -> None:
    try:
        pool.hold(address, holder)
    except PlanError as error:
        error.at = at
        raise


def addresses_of(
    seats: list[Seat],
    wish: Network | Link,
    pools: list[Addresses],
    held: Mapping[tuple[str, str], str],
    wants: set[Lease],
) -> dict[str, tuple[Interface, ...]]:
    """The addresses of each seat: written first, then the gateway's, then leased, then free ones; what is not written
    becomes a lease."""
    chosen: dict[tuple[str, int], list[Interface]] = defaultdict(list)
    for seat in seats:
        for written in seat.port.addresses:
            chosen[seat.key, written.version].append(_written(seat, written, wish, pools))
    for pool in pools:
        family = pool.prefix.version
        waiting = []
        for seat in seats:
            if seat.port.no_address or seat.port.dhcp or chosen[seat.key, family]:
                continue
            lease = held.get(("address", f"{seat.key}/{family}"))
            address = _first(pool.prefix) if _is_gateway(seat, wish) else ip_address(lease) if lease else None
            if address is not None and (pool.is_free(address) or _is_gateway(seat, wish)):
                _hold(pool, address, f"node {seat.node}", seat.at.own)
                chosen[seat.key, family].append(_give(seat, pool, address, wants))
            else:
                waiting.append(seat)
        for seat in waiting:
            chosen[seat.key, family].append(_give(seat, pool, _take(pool, seat), wants))
    return {seat.key: (*chosen[seat.key, 4], *chosen[seat.key, 6]) for seat in seats}


def _written(seat: Seat, written: Interface, wish: Network | Link, pools: list[Addresses]) -> Interface:
    """An address of the file; one without a length has the subnet's."""
    at = seat.at.of("ip")
    if not seat.port.plain and not any(written.ip in pool.prefix for pool in pools):
        return written
    pool = _pool_of(written.ip, pools, wish, at)
    _hold(pool, written.ip, f"node {seat.node}", at)
    return ip_interface(f"{written.ip}/{pool.prefix.prefixlen}") if seat.port.plain else written


def _is_gateway(seat: Seat, wish: Network | Link) -> bool:
    return isinstance(wish, Network) and wish.gateway == NodeGateway(seat.node)


def _take(pool: Addresses, seat: Seat) -> Address:
    try:
        return pool.take(f"node {seat.node}")
    except PlanError as error:
        error.at = seat.at.own
        raise


def _give(seat: Seat, pool: Addresses, address: Address, wants: set[Lease]) -> Interface:
    wants.add(Lease("address", f"{seat.key}/{address.version}", str(address)))
    return ip_interface(f"{address}/{pool.prefix.prefixlen}")


def node_gateways(
    node: str, seats: Iterable[Seat], chosen: Mapping[str, tuple[Interface, ...]]
) -> tuple[Address, ...]:
    """The first address of each family that the gateway node has on the network."""
    own = [address.ip for seat in seats if seat.node == node for address in chosen[seat.key]]
    return tuple(next(a for a in own if a.version == family) for family in sorted({a.version for a in own}))


def loopbacks_of(
    topology: Topology, held: Mapping[tuple[str, str], str], facts: Facts, wants: set[Lease]
) -> dict[str, tuple[Address, ...]]:
    """Written loopbacks as they are; planned ones out of one subnet that is leased for all of them."""
    found = {
        n.name: n.loopback
        for n in topology.nodes.values()
        if not isinstance(n.loopback, Planned) and n.loopback
    }
    planned = [node.name for node in topology.nodes.values() if node.loopback is PLANNED]
    if not planned:
        return found
    key = f"{LOOPBACKS}/4"
    if leased := held.get(("subnet", key)):
        prefix = ip_network(leased)
    else:
        taken = [*facts.reservations, *(Reservation(p, "avoid") for p in topology.avoid)]
        taken += [
            Reservation(ip_network(lease.value), lease.key)
            for lease in wants
            if lease.kind in ("subnet", "shared")
        ]
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
