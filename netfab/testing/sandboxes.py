"""Sandboxes as pytest's process has them: made by the broker, called by a socket, ended by closing it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Concatenate, ParamSpec, TypeVar

from netfab.errors import NetfabError
from netfab.testing.line import Line

P = ParamSpec("P")
T = TypeVar("T")


class Sandbox:
    """A place of its own for one fabric. Any thread may call."""

    def __init__(self) -> None:
        """Raises NetfabError: Unsupported where this user may not have one."""
        self._calls = _broker().sandbox()

    def call(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """What that function of a module returns in there, or raises."""
        __tracebackhide__ = True
        assert not named
        line = self._begun((function, arguments, False), ())
        try:
            answer: T = _heard(line)[0]
        finally:
            line.close()
        return answer

    def talk(
        self,
        function: Callable[Concatenate[Line, list[int], P], None],
        fds: Sequence[int],
        *arguments: P.args,
        **named: P.kwargs,
    ) -> tuple[Line, Any, list[int]]:
        """Begin a function that goes on talking: the line to it, and the first thing that it says."""
        __tracebackhide__ = True
        assert not named
        line = self._begun((function, arguments, True), fds)
        try:
            return line, *_heard(line)
        except BaseException:
            line.close()
            raise

    def _begun(self, what: object, fds: Sequence[int]) -> Line:
        ours, theirs = socket.socketpair()
        with theirs, suppress(OSError):  # it has ended: `hear` says so
            socket.send_fds(self._calls, [b"+"], [theirs.fileno()])
        line = Line(ours)
        with suppress(BrokenPipeError, ConnectionResetError):
            line.tell(what, fds)
        return line

    def close(self) -> None:
        """End it, and all that is in it; the kernel takes it away a little later."""
        self._calls.close()


def _heard(line: Line) -> tuple[Any, list[int]]:
    __tracebackhide__ = True
    try:
        return line.hear()
    except (EOFError, ConnectionResetError):
        raise NetfabError("the sandbox of this fabric has ended") from None


class _Broker:
    """The process of broker.py, for as long as this one lives."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._door, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            # Its own session: an interrupt at the terminal is pytest's, which then ends what it began.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "netfab.testing.broker", str(theirs.fileno()), str(self.owner)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        _heard(Line(self._door))

    def sandbox(self) -> socket.socket:
        """Where a new one is called. Any thread may ask: all are alike, whoever gets which."""
        self._door.send(b"+")
        _, fds, _, _ = socket.recv_fds(self._door, 1, 1, socket.MSG_CMSG_CLOEXEC)
        if not fds:
            raise NetfabError("the broker, which makes sandboxes, has ended")
        return socket.socket(fileno=fds[0])

    def lives(self) -> bool:
        return self.owner == os.getpid() and self._process.poll() is None


_lock = threading.Lock()
_brokers: list[_Broker] = []  # at most one


def _broker() -> _Broker:
    """The one of this process; another where it was killed, or is that of a parent."""
    with _lock:
        if not _brokers or not _brokers[0].lives():
            _brokers[:] = [_Broker()]
        return _brokers[0]
