"""Which address each seat has: written ones are held first, then the gateway's, then leased ones, then free ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_interface, ip_network

from netfab.errors import PlanError
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
    if isinstance(wish, Link):
        return None
    return next((part for part in wish.range if part.version == prefix.version), None)


def gateways_of(
    wish: Network | Link, pools: list[Addresses]
) -> tuple[tuple[Interface, ...], tuple[Address, ...]]:
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
    raise PlanError(f"{address} is not in the subnet of {what(wish)} {wish.name} ({subnets})", at=wish.at.own)


def addresses_of(
    seats: list[Seat],
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
                    f"{written.ip} is not in the subnet of {what(wish)} {wish.name} ({subnets})",
                    at=seat.at.of("ip"),
                )
            if pool is not None:
                pool.hold(written.ip, f"node {seat.node}")
            length = (
                pool.prefix.prefixlen if pool is not None and seat.port.plain else written.network.prefixlen
            )
            chosen[seat.key, written.version].append(ip_interface(f"{written.ip}/{length}"))
    for pool in pools:
        family = pool.prefix.version
        open_seats = [
            seat
            for seat in seats
            if not seat.port.no_address and not seat.port.dhcp and not chosen[seat.key, family]
        ]
        gateway = (
            wish.gateway.node if isinstance(wish, Network) and isinstance(wish.gateway, NodeGateway) else None
        )
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
    seat: Seat,
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
