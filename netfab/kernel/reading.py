"""Reading namespaces, each with its reader: by this process alone, or shared with a child that began ahead.

dumps.py says what a reader reads, observe.py which namespaces there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from netfab.kernel.dumps import Reader
from netfab.kernel.netlink import Netlink
from netfab.kernel.netns import Namespaces
from netfab.objects.base import HOST, Space
from netfab.tuples import NamedTuple

if TYPE_CHECKING:
    from netfab.kernel.together import Together
    from netfab.objects.guest import Guest

FEWEST = 200  # namespaces that are worth a child to read them with


class _Begun(NamedTuple):
    """What was begun."""

    readers: Mapping[str, Reader]  # how which spaces are read
    guests: Mapping[str, Guest]  # which guests some of them were taken for
    reading: Together


class Reading:
    """What is being read, or nothing."""

    def __init__(self, namespaces: Namespaces) -> None:
        self._namespaces = namespaces
        self._ahead: _Begun | None = None

    @property
    def begun(self) -> bool:
        """Whether something is."""
        return self._ahead is not None

    def covers(self, readers: Mapping[str, Reader], guests: Mapping[str, Guest]) -> bool:
        """Whether what was begun is of nothing but these."""
        ahead = self._ahead
        return (
            ahead is not None
            and ahead.readers.items() <= readers.items()
            and ahead.guests.items() <= guests.items()
        )

    def begin(self, readers: Mapping[str, Reader], guests: Mapping[str, Guest]) -> None:
        """Begin with these, where they are worth it, and with nothing else."""
        self.close()
        if len(readers) >= FEWEST:
            from netfab.kernel.together import Together

            with suppress(OSError):  # no other process, no pipe: this one reads all of them
                reading = Together(list(readers), partial(self._read_one, readers))
                self._ahead = _Begun(readers, guests, reading)

    def finish(self, readers: Mapping[str, Reader]) -> Iterator[tuple[str, Space]]:
        """Those of them that are there."""
        read = {}
        if self._ahead is not None:
            (begun, _, reading), self._ahead = self._ahead, None
            try:
                if HOST in readers and HOST not in begun:
                    read[HOST] = self._read_one(readers, HOST)  # while a child reads the others
                read |= reading.finish()
            finally:
                self._namespaces.kept_by(reading)  # not before: it may be let go of where descriptors run out
        for space, reader in readers.items():
            with suppress(FileNotFoundError):  # ended meanwhile
                plain = read.pop(space) if space in read else self._read_one(readers, space)
                yield space, reader.space(plain)

    def _read_one(self, readers: Mapping[str, Reader], space: str) -> Any:
        if space != HOST:
            return readers[space].read(self._namespaces.socket(space))
        netlink = Netlink()  # not the one that this process and a child of it both have
        try:
            return readers[space].read(netlink)
        finally:
            netlink.close()

    def close(self) -> None:
        """End what was begun and not asked for."""
        if self._ahead is not None:
            self._ahead.reading.close()
            self._ahead = None
