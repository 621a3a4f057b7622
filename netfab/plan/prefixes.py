"""Which prefixes each segment has: what is leased stays, what is written is checked, and the rest is planned.

In that order, so that a lease never moves and a planned subnet makes way for a written one. The arithmetic is subnets.py's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_network
from typing import Literal, NamedTuple

from netfab.errors import NetfabError, PlanError, SubnetTaken, raise_all
from netfab.plan.facts import Facts, Lease
from netfab.plan.seats import Seat, wishes
from netfab.plan.subnets import Reservation, Space, rejected, ula
from netfab.topology.schema import Link, Network, Pool, Prefix, SubnetWish, Topology

LINK_LENGTH = {4: 31, 6: 127}  # RFC 3021, RFC 6164


class Demand(NamedTuple):
    """One subnet that the file asks for."""

    segment: str
    wish: Network | Link
    family: Literal[4, 6]
    written: Prefix | None
    size: (
        int | None
    )  # prefix length, where that is written or given; None: the pool's, or more for many members
    members: int
    with_host: bool  # the host is on it or reaches it

    @property
    def key(self) -> str:
        return f"{self.segment}/{self.family}"

    @property
    def holder(self) -> str:
        return f"{what(self.wish)} {self.segment} of this file"


class Prefixes(NamedTuple):
    """The answer, and what there was no choice about."""

    chosen: Mapping[str, Prefix]  # by SEGMENT/FAMILY
    demands: tuple[Demand, ...]
    taken: tuple[Reservation, ...]  # what was not free when the rest was planned
    warnings: tuple[str, ...]

    def of(self, segment: str) -> list[Prefix]:
        """The segment's, IPv4 first."""
        return [self.chosen[key] for key in (f"{segment}/4", f"{segment}/6") if key in self.chosen]

    def wants(self) -> Iterator[Lease]:
        """A written subnet that the host has no part in may overlap other fabrics: its lease is a shared one."""
        for demand in self.demands:
            kind = "shared" if demand.written is not None and not demand.with_host else "subnet"
            yield Lease(kind, demand.key, str(self.chosen[demand.key]))


def choose_prefixes(
    topology: Topology,
    seats: Mapping[str, Sequence[Seat]],
    reach: frozenset[str],
    held: Mapping[tuple[str, str], str],
    facts: Facts,
) -> Prefixes:
    """A prefix for every demand. Raises SubnetTaken and PoolExhausted, all at once."""
    demands = tuple(_demands(topology, seats, reach))
    leased = {d.key: lease for d in demands if (lease := _lease(d, held)) is not None}
    chosen = {d.key: leased[d.key] for d in demands if d.written is None and d.key in leased}
    warnings = [warning for d in demands if d.key in chosen for warning in _shadows(d, chosen[d.key], facts)]
    mine = [Reservation(chosen[d.key], d.holder) for d in demands if d.key in chosen]
    errors: list[NetfabError] = []
    for demand in demands:
        if demand.written is not None:
            if demand.written == leased.get(demand.key):
                warnings += _shadows(demand, demand.written, facts)
                errors += _clash(demand, demand.written, mine)
            else:
                errors += _clash(
                    demand, demand.written, [*mine, *(facts.reservations if demand.with_host else ())]
                )
            chosen[demand.key] = demand.written
            mine.append(Reservation(demand.written, demand.holder))
    raise_all(errors)
    taken = (*facts.reservations, *mine, *(Reservation(prefix, "avoid") for prefix in topology.avoid))
    spaces = {
        4: Space(4, pools_of(topology, facts, 4), taken),
        6: Space(6, pools_of(topology, facts, 6), taken),
    }
    for demand in demands:
        if demand.key not in chosen:
            try:
                chosen[demand.key] = _take(spaces[demand.family], demand)
            except PlanError as error:
                error.at = demand.wish.at.of("subnet")
                errors.append(error)
    raise_all(errors)
    return Prefixes(chosen, demands, taken, tuple(warnings))


def reasons(topology: Topology, prefixes: Prefixes, facts: Facts, leased: Iterable[str]) -> Iterator[str]:
    """Why each subnet is what it is: `plan --why`. `leased` are the keys that were leased before."""
    before = set(leased)
    others = list(prefixes.taken)
    for demand in prefixes.demands:
        prefix = prefixes.chosen[demand.key]
        if demand.written is not None:
            yield f"{demand.segment}: {prefix}, as written"
        elif demand.key in before:
            yield f"{demand.segment}: {prefix}, leased to it before"
        else:
            yield f"{demand.segment}: {prefix}, the lowest free /{prefix.prefixlen}"
            pools = pools_of(topology, facts, demand.family)
            yield from (
                f"  not {rejection}" for rejection in rejected(pools, prefix.prefixlen, others, prefix)
            )
            others.append(Reservation(prefix, demand.holder))


def pools_of(topology: Topology, facts: Facts, family: Literal[4, 6]) -> list[Pool]:
    """Where subnets are taken from; for IPv6, when no pool is written, the machine's own unique local prefix."""
    pools = [pool for pool in topology.pools if pool.prefix.version == family]
    if family == 4 or pools:
        return pools
    return [Pool(ula(f"{facts.machine}/{topology.name}"), 64, topology.at.own)]


def what(wish: Network | Link) -> str:
    """network or link."""
    return "network" if isinstance(wish, Network) else "link"


def _demands(
    topology: Topology, seats: Mapping[str, Sequence[Seat]], reach: frozenset[str]
) -> Iterator[Demand]:
    for name, wish in wishes(topology):
        for subnet in wish.subnets:
            if isinstance(subnet, SubnetWish):
                family, size = subnet.family, subnet.size
                written = _implied(subnet, seats[name], topology)
            else:
                family, size, written = (4 if subnet.version == 4 else 6), None, subnet
            if size is None and (family == 6 or isinstance(wish, Link)):
                size = LINK_LENGTH[family] if isinstance(wish, Link) else 64
            yield Demand(name, wish, family, written, size, len(seats[name]) + 1, name in reach)


def _implied(subnet: SubnetWish, seats: Iterable[Seat], topology: Topology) -> Prefix | None:
    """The subnet that written addresses stand for where none is written: the block around them."""
    for seat in seats:
        for address in seat.port.addresses:
            if address.version == subnet.family:
                if not seat.port.plain:
                    return address.network
                sizes = [pool.size for pool in topology.pools if address.ip in pool.prefix]
                length = subnet.size or (64 if subnet.family == 6 else min(sizes, default=24))
                return ip_network((address.ip, length), strict=False)
    return None


def _lease(demand: Demand, held: Mapping[tuple[str, str], str]) -> Prefix | None:
    """What the demand is leased already, unless the file now wants another size."""
    text = held.get(("subnet", demand.key)) or held.get(("shared", demand.key))
    if text is None:
        return None
    prefix = ip_network(text)
    return prefix if demand.size in (None, prefix.prefixlen) or demand.written else None


def _take(space: Space, demand: Demand) -> Prefix:
    if demand.size is None:
        return space.take_for(demand.members, demand.holder)
    return space.take(demand.size, demand.holder)


def _clash(demand: Demand, prefix: Prefix, others: Iterable[Reservation]) -> Iterator[SubnetTaken]:
    """The first of the others that a written subnet overlaps."""
    for other in _overlapping(prefix, others):
        yield SubnetTaken(
            f"{prefix} overlaps {other.prefix}, {other.holder}",
            at=demand.wish.at.of("subnet"),
            hint="leave `subnet` out to have a free one planned",
        )
        return


def _shadows(demand: Demand, prefix: Prefix, facts: Facts) -> Iterator[str]:
    """What appeared over a held lease: a VPN that was dialled later, say."""
    if demand.with_host or demand.written is None:
        for other in _overlapping(prefix, facts.reservations):
            yield f"{prefix} of {demand.segment} is now also {other.prefix}, {other.holder}; nothing moves by itself"


def _overlapping(prefix: Prefix, others: Iterable[Reservation]) -> Iterator[Reservation]:
    first, last = int(prefix.network_address), int(prefix.broadcast_address)
    for other in others:
        if other.prefix.version == prefix.version:
            start = int(other.prefix.network_address)
            end = start + (1 << other.prefix.max_prefixlen - other.prefix.prefixlen) - 1
            if start <= last and end >= first:
                yield other
