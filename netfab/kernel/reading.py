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

FEWEST = 200  # namespaces that are worth a child process to read them


class _Begun(NamedTuple):
    """A reading that was begun."""

    readers: Mapping[str, Reader]  # how to read each space
    guests: Mapping[str, Guest]  # the guests that some of them were taken for
    reading: Together


class Reading:
    """A background reading of spaces, or none."""

    def __init__(self, namespaces: Namespaces) -> None:
        self._namespaces = namespaces
        self._ahead: _Begun | None = None

    @property
    def begun(self) -> bool:
        """Whether a reading was begun."""
        return self._ahead is not None

    def covers(self, readers: Mapping[str, Reader], guests: Mapping[str, Guest]) -> bool:
        """Whether everything that was begun is among these."""
        ahead = self._ahead
        return (
            ahead is not None
            and ahead.readers.items() <= readers.items()
            and ahead.guests.items() <= guests.items()
        )

    def begin(self, readers: Mapping[str, Reader], guests: Mapping[str, Guest]) -> None:
        """Begin to read these, if they are many enough to be worth it, and no others."""
        self.close()
        if len(readers) >= FEWEST:
            from netfab.kernel.together import Together

            with suppress(OSError):  # no child, no pipe: this process reads all of them
                reading = Together(list(readers), partial(self._read_one, readers))
                self._ahead = _Begun(readers, guests, reading)

    def finish(self, readers: Mapping[str, Reader]) -> Iterator[tuple[str, Space]]:
        """Those of the spaces that exist."""
        read = {}
        if self._ahead is not None:
            (begun, _, reading), self._ahead = self._ahead, None
            try:
                if HOST in readers and HOST not in begun:
                    read[HOST] = self._read_one(readers, HOST)  # while a child reads the others
                read |= reading.finish()
            finally:
                self._namespaces.kept_by(reading)  # not before: it may be dropped if descriptors run out
        for space, reader in readers.items():
            with suppress(FileNotFoundError):  # ended meanwhile
                plain = read.pop(space) if space in read else self._read_one(readers, space)
                yield space, reader.space(plain)

    def _read_one(self, readers: Mapping[str, Reader], space: str) -> Any:
        if space != HOST:
            return readers[space].read(self._namespaces.socket(space))
        netlink = Netlink()  # not one shared with a child process
        try:
            return readers[space].read(netlink)
        finally:
            netlink.close()

    def close(self) -> None:
        """End a reading that was begun and not used."""
        if self._ahead is not None:
            self._ahead.reading.close()
            self._ahead = None
