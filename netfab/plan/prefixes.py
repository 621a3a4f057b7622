"""Which prefixes each segment has: what is leased stays, what is written is checked, and the rest is planned.

In that order, so that a lease never moves and a planned subnet makes way for a written one. The arithmetic is
subnets.py's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_network
from typing import Literal

from netfab.errors import NetfabError, PlanError, SubnetTaken, raise_all
from netfab.plan.demands import Demand, demands_of
from netfab.plan.facts import Facts
from netfab.plan.leases import Lease
from netfab.plan.overlaps import Overlaps
from netfab.plan.seats import Seat, written_loopbacks
from netfab.plan.subnets import Reservation, Space, rejected, ula
from netfab.topology.schema import Pool, Prefix, Topology
from netfab.tuples import NamedTuple


class Prefixes(NamedTuple):
    """The chosen prefixes, and the fixed ones."""

    chosen: Mapping[str, Prefix]  # by SEGMENT/FAMILY
    demands: tuple[Demand, ...]
    taken: tuple[Reservation, ...]  # what was in use when the rest was planned
    warnings: tuple[str, ...]

    def of(self, segment: str) -> list[Prefix]:
        """The segment's, IPv4 first."""
        return [self.chosen[key] for key in (f"{segment}/4", f"{segment}/6") if key in self.chosen]

    def claims(self) -> Iterator[Lease]:
        """A fixed subnet in which the host has no part may overlap other fabrics: its lease is shared."""
        for demand in self.demands:
            prefix = self.chosen[demand.key]
            shared = prefix == demand.fixed and not demand.with_host
            yield Lease("shared" if shared else "subnet", demand.key, str(prefix))


def choose_prefixes(
    topology: Topology,
    seats: Mapping[str, Sequence[Seat]],
    reach: frozenset[str],
    held: Mapping[tuple[str, str], str],
    facts: Facts,
) -> Prefixes:
    """A prefix for every demand. Raises SubnetTaken and PoolExhausted, all at once."""
    demands = demands_of(topology, seats, reach)
    outside = (*facts.reservations, *(Reservation(prefix, "avoid") for prefix in topology.avoid))
    theirs, ours = Overlaps(outside), Overlaps()
    chosen = {d.key: lease for d in demands if (lease := _lease(d, held, theirs)) is not None}
    for demand in demands:
        if demand.key in chosen:
            ours.add(Reservation(chosen[demand.key], demand.holder))
    errors: list[NetfabError] = list(_taken_loopbacks(topology, seats, reach, theirs))
    for demand in demands:
        if demand.key not in chosen and demand.fixed is not None:
            chosen[demand.key] = demand.fixed
            errors += _clash(demand, demand.fixed, ours)
            if demand.with_host and held.get(("subnet", demand.key)) != str(demand.fixed):
                errors += _clash(demand, demand.fixed, theirs)
            ours.add(Reservation(demand.fixed, demand.holder))
    raise_all(errors)
    warnings = tuple(_shadows(demands, chosen, theirs))
    written = [
        Reservation(ip_network(a), f"the loopback of {node}") for a, node in written_loopbacks(topology)
    ]
    mine = [Reservation(chosen[d.key], d.holder) for d in demands if d.key in chosen]
    taken = (*outside, *mine, *written)
    _plan_rest(topology, demands, chosen, taken, facts)
    return Prefixes(chosen, demands, taken, warnings)


def _plan_rest(
    topology: Topology,
    demands: Iterable[Demand],
    chosen: dict[str, Prefix],
    taken: Sequence[Reservation],
    facts: Facts,
) -> None:
    """The lowest free prefix for every demand without one."""
    spaces = {
        4: Space(4, pools_of(topology, facts, 4), taken),
        6: Space(6, pools_of(topology, facts, 6), taken),
    }
    errors: list[NetfabError] = []
    for demand in demands:
        if demand.key not in chosen:
            try:
                chosen[demand.key] = _take(spaces[demand.family], demand)
            except PlanError as error:
                error.at = demand.at
                errors.append(error)
    raise_all(errors)


def reasons(topology: Topology, prefixes: Prefixes, facts: Facts, leased: Iterable[str]) -> Iterator[str]:
    """The reason for each subnet: `plan --why`. `leased`: the keys that had a lease before."""
    before = set(leased)
    others = list(prefixes.taken)
    for demand in prefixes.demands:
        prefix = prefixes.chosen[demand.key]
        if prefix == demand.fixed:
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
    """The pools to take subnets from; for IPv6 without a written pool, the machine's unique local prefix."""
    pools = [pool for pool in topology.pools if pool.prefix.version == family]
    if family == 4 or pools:
        return pools
    return [Pool(ula(f"{facts.machine}/{topology.name}"), 64, topology.at.own)]


def _taken_loopbacks(
    topology: Topology, seats: Mapping[str, Sequence[Seat]], reach: frozenset[str], theirs: Overlaps
) -> Iterator[SubnetTaken]:
    """Written loopbacks to which the host has a route that it takes for somebody else's."""
    on_reach = {seat.node for name in reach for seat in seats[name]}
    for address, node in written_loopbacks(topology):
        if node in on_reach:
            for other in theirs.of(ip_network(address)):
                yield SubnetTaken(
                    f"{address} is in {other.prefix}, {other.holder}",
                    at=topology.nodes[node].at.of("loopback"),
                    hint="`loopback: true` plans a free one",
                )
                break


def _lease(demand: Demand, held: Mapping[tuple[str, str], str], theirs: Overlaps) -> Prefix | None:
    """The demand's lease, unless the file now writes a subnet or another size.

    A shared lease dates from when the subnet was fixed and the host had no part in it: it may be taken.
    """
    own, shared = held.get(("subnet", demand.key)), held.get(("shared", demand.key))
    text = own or shared
    if text is None or demand.written is not None:
        return None
    prefix = ip_network(text)
    if demand.size not in (None, prefix.prefixlen):
        return None
    if own is None and any(theirs.of(prefix)) and (demand.with_host or prefix != demand.implied):
        return None
    return prefix


def _take(space: Space, demand: Demand) -> Prefix:
    if demand.size is None:
        return space.take_for(demand.members, demand.holder)
    return space.take(demand.size, demand.holder)


def _clash(demand: Demand, prefix: Prefix, others: Overlaps) -> Iterator[SubnetTaken]:
    """The first reservation that a written subnet overlaps."""
    for other in others.of(prefix):
        yield SubnetTaken(f"{prefix} overlaps {other.prefix}, {other.holder}", at=demand.at, hint=demand.hint)
        return


def shadowed(leases: Iterable[Lease], reservations: Iterable[Reservation]) -> Iterator[str]:
    """New routes over the subnets that a fabric holds; needs no topology."""
    theirs = Overlaps(reservations)
    for lease in sorted(leases):
        if lease.kind == "subnet":
            yield from _told(ip_network(lease.value), lease.key.rpartition("/")[0], theirs)


def _told(prefix: Prefix, segment: str, theirs: Overlaps) -> Iterator[str]:
    for other in theirs.of(prefix):
        also = f"{other.prefix}, {other.holder}"
        yield f"{prefix} of {segment} is now also {also}; nothing moves by itself"


def _shadows(demands: Iterable[Demand], chosen: Mapping[str, Prefix], theirs: Overlaps) -> Iterator[str]:
    """New routes over a held lease: a VPN that connected later, say."""
    for demand in demands:
        prefix = chosen.get(demand.key)
        if prefix is not None and (demand.with_host or prefix != demand.fixed):
            yield from _told(prefix, demand.segment, theirs)
