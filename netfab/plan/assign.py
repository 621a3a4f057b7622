"""Which address each seat has: written ones are held first, then the gateway's, leased ones, and free ones.

A lease that would have to make way is an error, never a renumbering. The gateway's address is nobody's lease:
it goes with the role. A network without one keeps the first address free for a gateway to come, as long as
there are others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address

from netfab.errors import AddressTaken, Location, PlanError, PoolExhausted
from netfab.plan.addresses import Addresses, Assigned, usable
from netfab.plan.demands import what
from netfab.plan.leases import Lease
from netfab.plan.prefixes import Prefixes
from netfab.plan.seats import LOOPBACKS, Seat, host_is_gateway, planned_loopbacks, written_loopbacks
from netfab.topology.schema import (
    Address,
    ExternalGateway,
    HostGateway,
    Interface,
    Link,
    Network,
    NodeGateway,
    Port,
    Prefix,
    Topology,
)


def range_of(spec: Network | Link, prefix: Prefix) -> Prefix | None:
    """The range of dynamic addresses in that prefix; None: all of it."""
    if isinstance(spec, Link):
        return None
    return next((part for part in spec.range if part.version == prefix.version), None)


def hold_foreign(pools: Iterable[Addresses], held: Mapping[Address, str], spec: Network | Link) -> None:
    """Hold addresses that other fabrics have on this bridge; gateways may be shared."""
    gateway = spec.gateway if isinstance(spec, Network) else None
    shared = gateway.addresses if isinstance(gateway, HostGateway | ExternalGateway) else ()
    for pool in pools:
        for address, holder in held.items():
            if address not in shared and pool.is_free(address):
                pool.hold(address, holder)


def gateways_of(
    spec: Network | Link, pools: list[Addresses]
) -> tuple[tuple[Assigned, ...], tuple[Address, ...]]:
    """The host's own addresses, and the next hops of members' default routes; both held.

    On an `external` bridge a written gateway exists already. A link to the host is no way out.
    """
    if isinstance(spec, Link):
        return tuple(_of_host_end(spec, pools)), ()
    if not isinstance(spec.gateway, HostGateway | ExternalGateway):
        return (), ()
    at = spec.at.of("gateway")
    written = list(spec.gateway.addresses)
    if host_is_gateway(spec):
        families = {address.version for address in written}
        written += [_first(pool.prefix) for pool in pools if pool.prefix.version not in families]
    interfaces = []
    for address in written:
        pool = _pool_of(address, pools, spec, at)
        _hold(pool, address, "the gateway", at)
        interfaces.append(Assigned(address, pool.prefix))
    host = tuple(interfaces) if host_is_gateway(spec) else ()
    return host, tuple(interface.ip for interface in interfaces)


def _of_host_end(link: Link, pools: list[Addresses]) -> Iterator[Assigned]:
    """The addresses of an end `host:IF`: as written, else the lowest that the other end doesn't write."""
    outside = link.outside
    if outside is None or outside.kind != "host" or outside.port.no_address:
        return
    at = outside.at.of("ip")
    others = {interface.ip for end in link.ends for interface in end.port.addresses}
    for pool in pools:
        own = [i.ip for i in outside.port.addresses if i.version == pool.prefix.version]
        first = _first(pool.prefix)
        for address in own or [first if first not in others else first + 1]:
            _hold(_pool_of(address, pools, link, at), address, "the host", at)
            yield Assigned(address, pool.prefix)


def _first(prefix: Prefix) -> Address:
    first, _ = usable(prefix)
    return type(prefix.network_address)(first)


def _pool_of(address: Address, pools: Iterable[Addresses], spec: Network | Link, at: Location) -> Addresses:
    for pool in pools:
        if address in pool.prefix:
            return pool
    subnets = ", ".join(str(pool.prefix) for pool in pools) or "none"
    raise PlanError(f"{address} is not in the subnet of {what(spec)} {spec.name} ({subnets})", at=at)


def _hold(pool: Addresses, address: Address, holder: str, at: Location) -> None:
    try:
        pool.hold(address, holder)
    except PlanError as error:
        error.at = at
        raise


def addresses_of(
    seats: list[Seat],
    spec: Network | Link,
    pools: list[Addresses],
    held: Mapping[tuple[str, str], str],
    claims: set[Lease],
) -> dict[str, tuple[Assigned, ...]]:
    """The addresses of each seat; those neither written nor the gateway's become leases."""
    chosen: dict[str, list[Assigned]] = {seat.key: [] for seat in seats}
    for seat in seats:
        for written in seat.port.addresses:
            chosen[seat.key].append(_written(seat, written, spec, pools))
    for pool in pools:
        family = pool.prefix.version
        planned = [
            seat
            for seat in seats
            if not (seat.port.no_address or seat.port.dhcp)
            and all(written.version != family for written in seat.port.addresses)
        ]
        address = _first(pool.prefix)
        if gateway := _gateway_seat(planned, seats, spec, address, held):
            planned.remove(gateway)
            _hold(pool, address, gateway.holder, gateway.at.own)
            chosen[gateway.key].append(Assigned(address, pool.prefix))
            if gateway.is_hosts:
                claims.add(Lease("address", f"{gateway.key}/{family}", str(address)))
        for seat, address, lease in _planned(planned, spec, pool, held):
            chosen[seat.key].append(Assigned(address, pool.prefix))
            claims.add(lease)
    return {key: tuple(sorted(found, key=_version)) for key, found in chosen.items()}


def _version(assigned: Assigned) -> int:
    return assigned.version


def _gateway_seat(
    planned: Iterable[Seat],
    seats: Sequence[Seat],
    spec: Network | Link,
    address: Address,
    held: Mapping[tuple[str, str], str],
) -> Seat | None:
    """The seat of the first usable address: the gateway node's first interface, unless it writes one.

    Of several hosts the first, unless it has a lease for another, or another had it before.
    """
    family = address.version
    first = next((seat for seat in seats if seat.is_hosts), None)
    if first is not None:
        if first not in planned or ("address", f"{first.key}/{family}") in held:
            return None
        leased = {held.get(("address", f"{seat.key}/{family}")) for seat in seats}
        return first if str(address) not in leased else None
    if not isinstance(spec, Network) or not isinstance(spec.gateway, NodeGateway):
        return None
    node = spec.gateway.node
    if any(
        seat.node == node and written.version == family for seat in seats for written in seat.port.addresses
    ):
        return None
    return next((seat for seat in planned if seat.node == node), None)


def _planned(
    seats: list[Seat], spec: Network | Link | None, pool: Addresses, held: Mapping[tuple[str, str], str]
) -> Iterator[tuple[Seat, Address, Lease]]:
    """Leased addresses, then free ones."""
    waiting = []
    family = pool.prefix.version
    for seat in seats:
        key = f"{seat.key}/{family}"
        lease = held.get(("address", key))
        address = _kept(pool, ip_address(lease), seat) if lease else None
        if address is None or lease is None:
            waiting.append((seat, key))
        else:
            yield seat, address, Lease("address", key, lease)
    spare = _first(pool.prefix)
    spares = [spare] if isinstance(spec, Network) and pool.is_free(spare) else []
    for address in spares:
        pool.hold(address, "a gateway to come")
    for seat, key in waiting:
        address = _take(pool, seat, spares)
        yield seat, address, Lease("address", key, str(address))


def _kept(pool: Addresses, lease: Address, seat: Seat) -> Address | None:
    """The leased address, held; None if the subnet has changed since."""
    if not pool.fits(lease):
        return None
    if holder := pool.holder(lease):
        raise AddressTaken(
            f"{lease}, leased to {seat.node.removeprefix('@')}, is held by {holder}",
            at=seat.at.own,
            hint=f"a lease never moves: give {holder} another one, or write `ip` for {seat.node}",
        )
    pool.hold(lease, seat.holder)
    return lease


def _written(seat: Seat, written: Interface, spec: Network | Link, pools: list[Addresses]) -> Assigned:
    """An address from the file; without a length, it gets the subnet's."""
    at = seat.at.of("ip")
    if not seat.port.plain and not any(written.ip in pool.prefix for pool in pools):
        return Assigned(written.ip, written.network)
    pool = _pool_of(written.ip, pools, spec, at)
    _hold(pool, written.ip, seat.holder, at)
    return Assigned(written.ip, pool.prefix if seat.port.plain else written.network)


def _take(pool: Addresses, seat: Seat, spares: list[Address]) -> Address:
    try:
        return pool.take(seat.holder)
    except PoolExhausted as error:
        if spares and pool.dynamic(spares[0]):
            return spares.pop()
        error.at = seat.at.own
        raise


def node_gateways(
    node: str, seats: Iterable[Seat], chosen: Mapping[str, tuple[Assigned, ...]]
) -> tuple[Address, ...]:
    """The first address of each family that the gateway node has on the network."""
    own = [address.ip for seat in seats if seat.node == node for address in chosen[seat.key]]
    return tuple(next(a for a in own if a.version == family) for family in sorted({a.version for a in own}))


def loopbacks_of(
    topology: Topology,
    seats: Mapping[str, list[Seat]],
    prefixes: Prefixes,
    held: Mapping[tuple[str, str], str],
    claims: set[Lease],
    others: Mapping[Address, str],
) -> dict[str, tuple[Address, ...]]:
    """Written loopbacks as they are; planned ones from one subnet of each family, leased like others.

    `others`: addresses that can't be used here, and their holders.
    """
    found: dict[str, list[Address]] = {}
    for address, node in written_loopbacks(topology):
        found.setdefault(node, []).append(address)
    for family, nodes in planned_loopbacks(topology, seats).items():
        pool = Addresses(prefixes.chosen[f"{LOOPBACKS}/{family}"])
        for address, node in written_loopbacks(topology):
            if pool.is_free(address):
                pool.hold(address, f"node {node}")
        for address, holder in others.items():
            if pool.is_free(address):
                pool.hold(address, holder)
        places = [
            Seat(node, "lo", LOOPBACKS, Port(), f"{LOOPBACKS}/{node}", topology.nodes[node].at)
            for node in nodes
        ]
        try:
            chosen = list(_planned(places, None, pool, held))
        except PoolExhausted as error:
            error.hint = "write `loopback: ADDRESS` for some; a leased subnet never grows by itself"
            raise
        for seat, address, lease in chosen:
            found.setdefault(seat.node, []).append(address)
            claims.add(lease)
    return {node: tuple(addresses) for node, addresses in found.items()}
