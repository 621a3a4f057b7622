"""Relaying between a command in a container and its caller's files or terminal, by pipes.

What a program has as a descriptor it can open anew (/proc/self/fd), and otherwise than it was opened for it:
the script that it reads it could write, and a terminal it could go on reading when it has ended. So it is
given pipes, and who started it copies. What is a pipe or socket already is no more than what it carries.
"""

from __future__ import annotations

import fcntl
import os
import select
import stat
import sys
import termios
from time import monotonic

from netfab.runtime import tty
from netfab.runtime.streams import Streams

_CHUNK = 1 << 16


class Relay:
    """The pipes of one command; none in place of a stream that it may have itself."""

    def __init__(self, streams: Streams) -> None:
        self._source, self._input = -1, -1  # what is typed, and the pipe that it goes to
        self._outputs: dict[int, int] = {}  # pipes that it writes to, and where that goes
        self._theirs: list[int] = []
        self._waiting = b""
        self.streams = Streams(self._to_read(streams.stdin), *self._to_write(streams.stdout, streams.stderr))

    def _to_read(self, fd: int) -> int:
        if _may_be_had(fd):
            return fd
        theirs, self._input = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._input, False)
        self._source = fd
        self._theirs.append(theirs)
        return theirs

    def _to_write(self, *fds: int) -> list[int]:
        """What leads to one place is one pipe, which keeps the order."""
        given: list[int] = []
        for number, fd in enumerate(fds):
            same = next((given[n] for n in range(number) if os.path.sameopenfile(fds[n], fd)), None)
            given.append(fd if _may_be_had(fd) else self._new_output(fd) if same is None else same)
        return given

    def _new_output(self, fd: int) -> int:
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(ours, False)
        self._outputs[ours] = fd
        self._theirs.append(theirs)
        return theirs

    def copied(self, child: int, timeout: float | None) -> bool:
        """Copy until that child has ended, and all that it wrote is where it goes; whether it did in time."""
        while self._theirs:
            os.close(self._theirs.pop())
        if timeout is None and self._input == -1 and not self._outputs:
            return True  # who waits for its end sees it
        pidfd = os.pidfd_open(child)
        try:
            return self._copied(pidfd, None if timeout is None else monotonic() + timeout)
        finally:
            for fd in (pidfd, *self._outputs):
                os.close(fd)
            self._end_input()

    def _copied(self, pidfd: int, until: float | None) -> bool:
        while True:
            ready = self._ready(pidfd, until)
            for fd in [fd for fd in self._outputs if fd in ready or pidfd in ready]:
                # At its end what is there by now: others in the container may go on writing.
                self._show(fd, _held(fd) if pidfd in ready else _CHUNK)
            if pidfd in ready:
                return True
            if not ready:
                return False
            if self._input in ready and not self._waiting:  # nobody reads it any more
                self._end_input()
            elif self._input != -1 and not ready.isdisjoint((self._source, self._input)):
                self._pass_on()

    def _ready(self, pidfd: int, until: float | None) -> set[int]:
        """Descriptors at which there is something; none when it is too late."""
        poll = select.poll()
        for fd in (pidfd, *self._outputs):
            poll.register(fd, select.POLLIN)
        if self._input != -1:
            poll.register(self._input, select.POLLOUT if self._waiting else 0)
            if not self._waiting:
                poll.register(self._source, select.POLLIN)
        return {fd for fd, _ in poll.poll(None if until is None else max(0.0, until - monotonic()) * 1000)}

    def _pass_on(self) -> None:
        """Some of what is typed; its end is that of the pipe."""
        try:
            self._waiting = self._waiting or os.read(self._source, _CHUNK)
            if not self._waiting:
                self._end_input()
                return
            self._waiting = self._waiting[os.write(self._input, self._waiting) :]
        except BlockingIOError:
            return
        except OSError:
            self._end_input()

    def _end_input(self) -> None:
        if self._input != -1:
            os.close(self._input)
            self._input = -1

    def _show(self, fd: int, most: int) -> None:
        """Up to so many bytes of what it wrote; where that can't be written, it finds the pipe broken."""
        try:
            data = os.read(fd, most)
            tty.write(self._outputs[fd], data)
        except BlockingIOError:  # the command itself has read it
            return
        except OSError:
            data = b""
        if not data:
            del self._outputs[fd]
            os.close(fd)


def _may_be_had(fd: int) -> bool:
    found = os.fstat(fd)
    return (
        stat.S_ISFIFO(found.st_mode)
        or stat.S_ISSOCK(found.st_mode)
        or (stat.S_ISCHR(found.st_mode) and found.st_rdev == os.stat(os.devnull).st_rdev)
    )


def _held(fd: int) -> int:
    """Bytes that are in a pipe."""
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)
