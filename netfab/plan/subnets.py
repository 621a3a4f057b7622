"""Free subnets: the lowest aligned block in the pools that overlaps nothing held, and why no lower one.

Pure arithmetic on prefixes, with Docker's semantics of pools. Where reservations come from (routes, leases,
`avoid`) is facts.py's business; whose lease a subnet becomes is layout.py's. Nothing is ever given back here:
a freed block is one that the next plan's reservations no longer name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from heapq import heappop, heappush
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Literal

from netfab.errors import PoolExhausted
from netfab.objects.digest import digest
from netfab.tuples import NamedTuple

if TYPE_CHECKING:
    from netfab.topology.schema import Pool

Prefix = IPv4Network | IPv6Network

HOLDERS_NAMED = 3  # in the error for exhausted pools; the rest are counted


class Reservation(NamedTuple):
    """A prefix that can't be planned, and its holder in plain words: "routed via tun0 on this host"."""

    prefix: Prefix
    holder: str


class Rejection(NamedTuple):
    """Candidates, first to last, that overlap what one holder has."""

    first: Prefix
    last: Prefix
    holder: str

    def __str__(self) -> str:
        if self.first == self.last:
            return f"{self.first}: {self.holder}"
        return f"{self.first} .. {self.last}: {self.holder}"


def length_for(members: int, size: int, bits: int = 32) -> int:
    """Prefix length of a subnet without a written size: the pool's size, or bigger to hold twice the members.

    Its network and broadcast addresses hold nobody. `bits` is the length of an address of the family.
    """
    return min(size, bits - (2 * members + 1).bit_length())


def ula(seed: str) -> IPv6Network:
    """The seed's own /48 of unique local addresses: fd and 40 bits of a hash (RFC 4193, section 3)."""
    global_id = int.from_bytes(digest(seed.encode())[:5], "big")
    return IPv6Network(((0xFD << 120) | (global_id << 80), 48))


class Space:
    """Free space of one address family: pools less what is held. Everything taken is held from then on.

    Linear in takes and reservations together: one sweep over the reservations for each size of block.
    """

    def __init__(self, family: Literal[4, 6], pools: Iterable[Pool], taken: Iterable[Reservation]) -> None:
        self._pools = distinct(pool for pool in pools if pool.prefix.version == family)
        self._network = IPv4Network if family == 4 else IPv6Network
        self._taken: list[tuple[Prefix, str]] = [
            held for held in taken if isinstance(held.prefix, self._network)
        ]
        self._lengths: dict[int, tuple[int, ...]] = {}  # by number of members, for each pool
        self._sweeps: dict[tuple[int, ...], _Sweep] = {}

    def hold(self, prefix: Prefix, holder: str) -> None:
        """Exclude that prefix from now on."""
        self._taken.append((prefix, holder))
        for sweep in self._sweeps.values():
            heappush(sweep.later, _interval(prefix))

    def take(self, length: int, holder: str) -> Prefix:
        """The lowest free subnet of that prefix length. Raises PoolExhausted."""
        return self._take((length,) * len(self._pools), holder)

    def take_for(self, members: int, holder: str) -> Prefix:
        """The lowest free subnet of its pool's own size, or bigger if twice the members need it.

        Raises PoolExhausted.
        """
        lengths = self._lengths.get(members)
        if lengths is None:
            lengths = self._lengths[members] = tuple(
                length_for(members, pool.size, pool.prefix.max_prefixlen) for pool in self._pools
            )
        return self._take(lengths, holder)

    def _take(self, lengths: tuple[int, ...], holder: str) -> Prefix:
        """The lowest free subnet, of the length given for its pool."""
        sweep = self._sweeps.get(lengths)
        if sweep is None:
            blocks = zip((pool.prefix for pool in self._pools), lengths, strict=True)
            sweep = self._sweeps[lengths] = _Sweep(blocks, (prefix for prefix, _ in self._taken))
        found = sweep.take()
        if found is None:
            raise _exhausted(lengths, self._pools, self._taken)
        prefix = self._network(found)
        self._taken.append((prefix, holder))
        if len(self._sweeps) > 1:
            for other in self._sweeps.values():
                if other is not sweep:
                    heappush(other.later, (found[0], found[0] + sweep.size - 1))
        return prefix


class _Sweep:
    """The blocks of one length in each pool, lowest first. Its cursor only moves up."""

    def __init__(self, pools: Iterable[tuple[Prefix, int]], held: Iterable[Prefix]) -> None:
        self._pools = list(pools)[::-1]  # a stack of pools and the length of a block there
        # Intervals that the cursor has not passed: a stack, and a heap for those held since it was made.
        self._ahead = sorted(map(_interval, held), reverse=True)
        self.later: list[tuple[int, int]] = []
        self._passed = -1  # where the last interval that moved the cursor ended
        self.size = self._length = 1
        self._cursor, self._last = 0, -1  # before the first pool

    def take(self) -> tuple[int, int] | None:
        """First address and length of the lowest free block, held from then on; None if there is none."""
        ahead, later, size, first = self._ahead, self.later, self.size, self._cursor
        while True:
            if first + size - 1 > self._last:  # true also of a block bigger than its pool
                if not self._pools:
                    self._cursor = first
                    return None
                first, size = self._next_pool()
                continue
            if ahead and ahead[-1][0] < first + size:
                last = ahead.pop()[1]
            elif later and later[0][0] < first + size:
                last = heappop(later)[1]
            else:
                self._cursor = first + size
                return first, self._length
            if last >= first:
                self._passed = last
                first = -(-(last + 1) // size) * size  # the next aligned address after it

    def _next_pool(self) -> tuple[int, int]:
        """The next pool's first block left free by the intervals passed so far, and its size."""
        pool, self._length = self._pools.pop()
        start, self._last = _interval(pool)
        self.size = 1 << (pool.max_prefixlen - self._length)
        self._cursor = max(start, -(-(self._passed + 1) // self.size) * self.size)
        return self._cursor, self.size


def distinct(pools: Iterable[Pool]) -> list[Pool]:
    """The pools in address order, without those inside another (of two equal ones the first stays)."""
    kept: list[Pool] = []
    for pool in sorted(pools, key=lambda pool: (_interval(pool.prefix)[0], pool.prefix.prefixlen)):
        if not kept or _interval(pool.prefix)[0] > _interval(kept[-1].prefix)[1]:
            kept.append(pool)
    return kept


def rejected(
    pools: Iterable[Pool], length: int, taken: Iterable[Reservation], chosen: Prefix
) -> list[Rejection]:
    """The candidates of that length below the chosen one, in order, with the holder of each.

    Neighbours with the same holder are one line. A candidate with several holders counts for the lowest of
    them; a free one (the chosen subnet is an older lease) is not listed. A pool smaller than a block is.
    """
    family = [pool for pool in pools if pool.prefix.version == chosen.version]
    runs: list[Rejection] = []
    reservations = sorted(
        (held for held in taken if held.prefix.version == chosen.version),
        key=lambda held: (_interval(held.prefix), held.holder),
    )
    for pool in distinct(family):
        if _interval(pool.prefix)[0] >= _interval(chosen)[0]:
            break
        if pool.prefix.prefixlen > length:
            runs.append(Rejection(pool.prefix, pool.prefix, f"smaller than a /{length}"))
            continue
        for first, last, holder in _runs(pool.prefix, length, reservations, _interval(chosen)[0]):
            block = type(chosen)
            runs.append(Rejection(block((first, length)), block((last, length)), holder))
    return runs


def _runs(
    pool: Prefix, length: int, reservations: Sequence[Reservation], below: int
) -> Iterator[tuple[int, int, str]]:
    """First block, last block and holder of each run of held blocks in the pool below an address."""
    size = 1 << (pool.max_prefixlen - length)
    cursor, end = _interval(pool)
    end = min(end + 1, below)
    run: tuple[int, int, str] | None = None
    for held, holder in reservations:
        first, last = _interval(held)
        if first >= end:
            break
        start = max(cursor, first // size * size)
        if last < start:
            continue
        cursor = min(-(-(last + 1) // size) * size, end)
        if run and run[2] == holder and run[1] + size == start:
            run = (run[0], cursor - size, holder)
        else:
            if run:
                yield run
            run = (start, cursor - size, holder)
        if cursor >= end:
            break
    if run:
        yield run


def _exhausted(
    lengths: Sequence[int], pools: Sequence[Pool], taken: Iterable[tuple[Prefix, str]]
) -> PoolExhausted:
    """The error that names the pools, and the biggest holders in them."""
    if not pools:
        return PoolExhausted("no pool has addresses of this family", hint="add one to `pools`")
    shares: dict[str, int] = defaultdict(int)  # numbers of addresses
    for pool in pools:
        start, end = _interval(pool.prefix)
        for prefix, holder in taken:
            first, last = _interval(prefix)
            if first <= end and last >= start:
                shares[holder] += min(last, end) - max(first, start) + 1
    ranking = sorted(shares, key=lambda holder: (-shares[holder], holder))
    holders = ", ".join(ranking[:HOLDERS_NAMED]) or "nobody"
    if len(ranking) > HOLDERS_NAMED:
        holders += f" and {len(ranking) - HOLDERS_NAMED} more"
    wanted = " or ".join(f"/{length}" for length in sorted(set(lengths)))
    return PoolExhausted(
        f"no free {wanted} in {', '.join(str(pool.prefix) for pool in pools)}; held by {holders}",
        hint="add to `pools`, or write a smaller `subnet: /N`",
    )


def _interval(prefix: Prefix) -> tuple[int, int]:
    """First and last address as integers. `prefix[-1]` would build two address objects."""
    first = int(prefix.network_address)
    return first, first + (1 << (prefix.max_prefixlen - prefix.prefixlen)) - 1
