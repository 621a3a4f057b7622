"""Reading what containers have written: from the start, the last lines, or as it comes.

A log is a plain file that the container itself appends to; a long one begins with a hole (rotation.py), which
is skipped.
"""

from __future__ import annotations

import os
from _socket import SO_PEERCRED, SOL_SOCKET
from collections.abc import Iterable, Iterator
from contextlib import suppress
from struct import Struct

from netfab.runtime.paths import Paths
from netfab.runtime.rotation import LOG_LIMIT
from netfab.runtime.status import connect, status_of
from netfab.system import files
from netfab.system.poll import readable
from netfab.tuples import NamedTuple

_CHUNK = 1 << 16
_MOST = 4 * LOG_LIMIT  # bytes read back: a guest can make its log look arbitrarily long, ftruncate(2)
_LONGEST_LINE = 1 << 20  # bytes; longer ones are passed on in parts while following
_CREDENTIALS = Struct("3i")  # struct ucred: the process, its user, its group; unix(7)


class Line(NamedTuple):
    """One line of a container's output, without its line feed."""

    fabric: str
    name: str
    text: bytes


def tail(paths: Paths, name: str, lines: int | None = None) -> list[bytes]:
    """The last `count` lines, None for all; a separate error log's after the others.

    Empty if there is no log.
    """
    found: list[bytes] = []
    for path in _logs_of(paths, name):
        with suppress(FileNotFoundError), open(path, "rb", 0) as log:
            found += _last_lines(log.fileno(), lines)[0]
    return found if lines is None else found[len(found) - min(lines, len(found)) :]


def _logs_of(paths: Paths, name: str) -> tuple[str, str]:
    """Its logs: none before its first start and after its removal, usually one."""
    return paths.log(name), paths.errors(name)


def _last_lines(fd: int, lines: int | None) -> tuple[list[bytes], int]:
    """The lines, and the offset after what was read."""
    end = os.fstat(fd).st_size
    first = max(next_byte(fd, 0), end - _MOST)
    start, chunks, breaks = end, list[bytes](), 0
    while start > first and (lines is None or breaks <= lines):
        size = min(_CHUNK, start - first)
        start -= size
        chunks.append(os.pread(fd, size, start))
        breaks += chunks[-1].count(b"\n")
    text = b"".join(reversed(chunks))
    found = text.removesuffix(b"\n").split(b"\n") if text else []
    if start == first and first > 0:
        found = found[1:]  # it begins within a line
    return (found if lines is None else found[len(found) - min(lines, len(found)) :]), end


def next_byte(fd: int, offset: int) -> int:
    """The offset of the first byte written from there on: after the hole that rotation made."""
    size = os.fstat(fd).st_size  # first: later writes are behind it
    try:
        return os.lseek(fd, offset, os.SEEK_DATA)
    except OSError:  # ENXIO: only a hole, or nothing at all
        return max(offset, size)


def follow(containers: Iterable[tuple[Paths, str]], lines: int | None = None) -> Iterator[Line]:
    """The last lines of each, then new output as it is written; ends when all of these containers are over.

    They may be of several fabrics.
    """
    watch = files.watch_init()
    followed: list[_Followed] = []
    try:
        for paths, name in containers:
            for log in _logs_of(paths, name):
                with suppress(FileNotFoundError):
                    followed.append(_Followed(paths, name, log, watch))
        for one in followed:
            yield from one.begin(lines)
        while followed:
            # First check whether it is over, then read its output: nothing is written after that.
            over = [one for one in followed if one.is_over()]
            for one in followed:
                yield from one.more()
            for one in over:
                followed.remove(one)
                yield from one.rest()
            if followed:
                _wait(watch, followed)
    finally:
        os.close(watch)
        for one in followed:  # the consumer has gone
            one.close()


class _Followed:
    """One log, read up to an offset."""

    def __init__(self, paths: Paths, name: str, log: str, watch: int) -> None:
        self.name, self._paths = name, paths
        self.pid = 0
        self._partial = b""
        self._offset = 0
        files.watch(watch, os.path.dirname(paths.record(name)), files.IN_MOVED_TO)
        files.watch(watch, log, files.IN_MODIFY)
        self._fd = os.open(log, os.O_RDONLY | os.O_CLOEXEC)

    def begin(self, lines: int | None) -> Iterator[Line]:
        """The last lines that are there, None for all; `more` continues after them, even within a line."""
        found, self._offset = _last_lines(self._fd, lines)
        if found and os.pread(self._fd, 1, self._offset - 1) != b"\n":
            self._partial = found.pop()
        yield from (Line(self._paths.fabric, self.name, text) for text in found)

    def is_over(self) -> bool:
        """Whether it ended and will not be restarted."""
        status = status_of(self._paths, self.name)
        self.pid = status.pid if status else 0
        return status is None or status.over

    def open_end(self) -> int:
        """A descriptor that is readable when its process ends, or, if none runs, when the supervisor does.

        Raises OSError if neither is alive.
        """
        try:
            return os.pidfd_open(self.pid)
        except (OSError, ValueError):  # not running just now: its record will change
            return _open_supervisor(self._paths)

    def more(self) -> Iterator[Line]:
        """Whole lines written since."""
        while data := self._read():
            *whole, self._partial = (self._partial + data).split(b"\n")
            yield from (Line(self._paths.fabric, self.name, text) for text in whole)
            if len(self._partial) > _LONGEST_LINE:
                yield Line(self._paths.fabric, self.name, self._partial)
                self._partial = b""

    def _read(self) -> bytes:
        start = next_byte(self._fd, self._offset)
        data = os.pread(self._fd, _CHUNK, start)
        self._offset = start + len(data)
        return data

    def rest(self) -> Iterator[Line]:
        """What follows the last newline. Nothing can be read afterwards."""
        self.close()
        if self._partial:
            yield Line(self._paths.fabric, self.name, self._partial)

    def close(self) -> None:
        """Close it."""
        os.close(self._fd)


def _open_supervisor(paths: Paths) -> int:
    """Its pidfd: a connection would keep it from exiting while we are suspended. Raises OSError.

    From another process namespace, in which it has no process id, only the connection is left.
    """
    with connect(paths) as door:
        pid, _, _ = _CREDENTIALS.unpack(door.getsockopt(SOL_SOCKET, SO_PEERCRED, _CREDENTIALS.size))
        return os.pidfd_open(pid) if pid else door.detach()


def _wait(watch: int, followed: list[_Followed]) -> None:
    """Wait until a log grows, a record changes, or the supervisor, which would write that, ends."""
    ends: list[int] = []
    try:
        with suppress(OSError):  # one is over by now
            for one in followed:
                ends.append(one.open_end())
            readable([watch, *ends], None)
    finally:
        for end in ends:
            os.close(end)
    with suppress(BlockingIOError):  # its process ended
        os.read(watch, _CHUNK)
