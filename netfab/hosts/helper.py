"""A process outside of a sandbox that lives as long as the sandbox does.

It is forked before the sandbox has a PID namespace of its own: whatever is started later is in there, and
ends with its process 1, which does not end before all of these are waited for (pid_namespaces(7)).
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager

from netfab.errors import NetfabError

Beside = Callable[[int], AbstractContextManager[None]]


class Helper:
    """A process outside of the sandbox, for what is beside it."""

    def __init__(self, beside: Beside) -> None:
        self._ours, theirs = socket.socketpair()
        self._furnished, self._furnishing = socket.socketpair()

        self._process = os.fork()
        if self._process == 0:
            try:
                for end in (self._ours, self._furnished, self._furnishing):
                    end.close()
                _stay_beside(theirs, beside)
            finally:
                os._exit(0)
        theirs.close()

    def await_begin(self) -> bool:
        """In the sandbox, once it is there: whether all is there that is beside it, as soon as it is."""
        for end in (self._ours, self._furnished):
            end.close()
        self._furnishing.send(b"+")
        there = self._furnishing.recv(1) == b"+"
        self._furnishing.close()
        return there

    def begin(self, pid: int) -> None:
        """What it is for, with the number of the sandbox's first process. Raises NetfabError."""
        self._furnishing.close()
        with self._furnished:
            if not self._furnished.recv(1):
                return
            self._ours.send(str(pid).encode())
            told = self._ours.recv(4096).decode()
            if told != "+":
                raise NetfabError(told or "--uplink: its helper ended")
            self._furnished.send(b"+")

    def end(self) -> None:
        """Let it go, and wait for that."""
        self._ours.close()
        os.waitpid(self._process, 0)


def _stay_beside(meeting: socket.socket, beside: Beside) -> None:
    """In the helper: enter, say so, and stay until nobody listens any more."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # whoever has the sandbox is told of these
    if not (pid := meeting.recv(16)):
        return
    try:
        with beside(int(pid)):
            meeting.send(b"+")
            meeting.recv(1)
    except NetfabError as error:
        meeting.send(error.message.encode()[:4096])
