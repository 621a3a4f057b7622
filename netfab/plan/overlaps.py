"""Finding who holds what overlaps a prefix, without looking at all. Pure.

Of two prefixes that overlap, one contains the other (RFC 4632, section 3.1): so those around a prefix are
looked up, one look for each length that occurs, and those inside it are adjacent when all are sorted.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator

from netfab.plan.subnets import Reservation
from netfab.topology.schema import Prefix


class Overlaps:
    """Reservations. Of several on one prefix, the first counts."""

    def __init__(self, held: Iterable[Reservation] = ()) -> None:
        self._held: dict[Prefix, Reservation] = {}
        for reservation in held:
            self._held.setdefault(reservation.prefix, reservation)
        self._rows = {
            version: sorted(_place(prefix) for prefix in self._held if prefix.version == version)
            for version in (4, 6)
        }
        self._lengths = {version: {length for _, length in row} for version, row in self._rows.items()}

    def add(self, reservation: Reservation) -> None:
        """Add one."""
        prefix = reservation.prefix
        if prefix not in self._held:
            self._held[prefix] = reservation
            insort(self._rows[prefix.version], _place(prefix))
            self._lengths[prefix.version].add(prefix.prefixlen)

    def of(self, prefix: Prefix) -> Iterator[Reservation]:
        """Those that overlap the prefix: the ones around it, widest first, then those inside, in order."""
        first, length = _place(prefix)
        row = self._rows[prefix.version]
        for wider in sorted(self._lengths[prefix.version]):
            if wider <= length and (found := self._held.get(prefix.supernet(new_prefix=wider))):
                yield found
        last = first + (1 << (prefix.max_prefixlen - length)) - 1
        for place in row[
            bisect_left(row, (first, length + 1)) : bisect_right(row, (last, prefix.max_prefixlen))
        ]:
            yield self._held[type(prefix)(place)]


def _place(prefix: Prefix) -> tuple[int, int]:
    return int(prefix.network_address), prefix.prefixlen
