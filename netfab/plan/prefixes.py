"""Which prefixes each segment has: what is leased or written is held first, then the rest is planned in file order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_network

from netfab.errors import NetfabError, PlanError, SubnetTaken, raise_all
from netfab.plan.facts import Facts, Lease
from netfab.plan.seats import Seat, wishes
from netfab.plan.subnets import Reservation, Space, ula
from netfab.topology.schema import Link, Network, Places, Pool, Prefix, SubnetWish, Topology


def prefixes_of(
    topology: Topology,
    by_segment: Mapping[str, list[Seat]],
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
    for name, wish in wishes(topology):
        for subnet in wish.subnets:
            family = subnet.family if isinstance(subnet, SubnetWish) else subnet.version
            lease = held.get(("subnet", f"{name}/{family}")) or held.get(("shared", f"{name}/{family}"))
            leased = ip_network(lease) if lease else None
            written = (
                subnet if not isinstance(subnet, SubnetWish) else _implied(subnet, by_segment[name], topology)
            )
            if written is not None:
                try:
                    _check_written(written, name, wish, name in reach, leased, facts, mine, warnings)
                except SubnetTaken as error:
                    errors.append(error)
                chosen[name, family] = written
            elif (
                leased is not None
                and isinstance(subnet, SubnetWish)
                and subnet.size in (None, leased.prefixlen)
            ):
                chosen[name, family] = leased
                warnings += _shadowed(leased, name, facts)
            else:
                to_plan.append((name, subnet, len(by_segment[name]) + 1, wish.at))  # type: ignore[arg-type]
                continue
            mine.append(Reservation(chosen[name, family], f"{what(wish)} {name} of this file"))
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
        name: [chosen[name, family] for family in (4, 6) if (name, family) in chosen]
        for name, _ in wishes(topology)
    }


def _pools6(topology: Topology, facts: Facts) -> list[Pool]:
    written = [pool for pool in topology.pools if pool.prefix.version == 6]
    return written or [Pool(ula(f"{facts.machine}/{topology.name}"), 64, topology.at.own)]


def _implied(subnet: SubnetWish, seats: Iterable[Seat], topology: Topology) -> Prefix | None:
    """The subnet that written addresses stand for where none is written: the block around them."""
    for seat in seats:
        for address in seat.port.addresses:
            if address.version == subnet.family:
                if not seat.port.plain:
                    return address.network
                size = subnet.size or max(
                    (pool.size for pool in topology.pools if address.ip in pool.prefix), default=24
                )
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


def what(wish: Network | Link) -> str:
    """network or link."""
    return "network" if isinstance(wish, Network) else "link"
