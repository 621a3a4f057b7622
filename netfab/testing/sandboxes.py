"""Sandboxes, seen from pytest's process: made by the broker, called over a socket, ended by closing it."""

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
    """A sandbox for one fabric. Thread-safe."""

    def __init__(self) -> None:
        """Raises NetfabError: Unsupported if this user may not create one."""
        self._calls = _broker().sandbox()

    def call(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Call a module-level function in the sandbox; returns or raises what it does."""
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
        """Start a function that talks: returns the line to it, and its first message with descriptors."""
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
        with theirs, suppress(OSError):  # it has ended: `hear` reports that
            socket.send_fds(self._calls, [b"+"], [theirs.fileno()])
        line = Line(ours)
        with suppress(BrokenPipeError, ConnectionResetError):
            line.tell(what, fds)
        return line

    def close(self) -> None:
        """End it, and everything in it; the kernel removes its namespaces a little later."""
        self._calls.close()


def _heard(line: Line) -> tuple[Any, list[int]]:
    __tracebackhide__ = True
    try:
        return line.hear()
    except (EOFError, ConnectionResetError):
        raise NetfabError("the sandbox of this fabric has ended") from None


class _Broker:
    """The broker process (broker.py), which lives as long as this one."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._door, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            # Its own session: Ctrl-C at the terminal goes to pytest only, which then ends what it began.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "netfab.testing.broker", str(theirs.fileno()), str(self.owner)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        _heard(Line(self._door))

    def sandbox(self) -> socket.socket:
        """The socket of a new sandbox. Thread-safe: all are alike, it does not matter who gets which."""
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
    """This process's broker; a new one if it was killed, or belongs to a parent."""
    with _lock:
        if not _brokers or not _brokers[0].lives():
            _brokers[:] = [_Broker()]
        return _brokers[0]
