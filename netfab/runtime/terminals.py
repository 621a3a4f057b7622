"""Terminals of containers: a program's output goes to its log, where all viewers read it.

The supervisor holds the master ends, so that a program outlives its viewers. Who types gets a copy of one
(foreground.py).
"""

from __future__ import annotations

import os
import select
from contextlib import suppress

from netfab.tuples import NamedTuple

_CHUNK = 1 << 16


class _Terminal(NamedTuple):
    name: str
    master: int
    log: int


class Terminals:
    """The terminals of running containers, by name and by descriptor."""

    def __init__(self, poll: select.epoll) -> None:
        self._poll = poll
        self._by_fd: dict[int, _Terminal] = {}

    def add(self, name: str, master: int, log: str) -> None:
        """Take over one."""
        os.set_blocking(master, False)
        opened = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._by_fd[master] = _Terminal(name, master, opened)
        self._poll.register(master, select.EPOLLIN)

    def owns(self, fd: int) -> bool:
        """Whether a descriptor that epoll names is a terminal."""
        return fd in self._by_fd

    def of(self, name: str) -> int | None:
        """The master of a container's terminal, if it has one."""
        return next((one.master for one in self._by_fd.values() if one.name == name), None)

    def copy(self, fd: int) -> None:
        """Copy its output to the log; drops the terminal once nobody has it open."""
        if self._copied(self._by_fd[fd]) is None:
            self._close(self._by_fd[fd])

    def finish(self, name: str) -> None:
        """Its program has ended: copy the rest before that is reported."""
        for one in [one for one in self._by_fd.values() if one.name == name]:
            while self._copied(one):
                continue
            self._close(one)

    def _copied(self, one: _Terminal) -> bool | None:
        """Whether there was anything; None: the other side is closed."""
        try:
            data = os.read(one.master, _CHUNK)
        except BlockingIOError:
            return False
        except OSError:  # EIO
            return None
        with suppress(OSError):  # a full disk: this output is lost, as any program's is
            os.write(one.log, data)
        return bool(data)

    def _close(self, one: _Terminal) -> None:
        self._poll.unregister(one.master)
        os.close(one.master)
        os.close(one.log)
        del self._by_fd[one.master]
