"""A process outside of a sandbox, with the sandbox's lifetime.

It is forked before the sandbox has a PID namespace of its own: any process started later is in there, and
ends with its process 1, which can't end before all of these are reaped (pid_namespaces(7)).
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
    """Runs `beside` in a process outside of the sandbox."""

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
        """Called in the sandbox: wait until `beside` is set up; whether that succeeded."""
        for end in (self._ours, self._furnished):
            end.close()
        self._furnishing.send(b"+")
        there = self._furnishing.recv(1) == b"+"
        self._furnishing.close()
        return there

    def begin(self, pid: int) -> None:
        """Have it enter `beside` with the PID of the sandbox's first process. Raises NetfabError."""
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
        """End it, and wait for it."""
        self._ours.close()
        os.waitpid(self._process, 0)


def _stay_beside(meeting: socket.socket, beside: Beside) -> None:
    """In the helper: enter `beside`, report that, and stay until the other end is closed."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # these are for the holder of the sandbox
    if not (pid := meeting.recv(16)):
        return
    try:
        with beside(int(pid)):
            meeting.send(b"+")
            meeting.recv(1)
    except NetfabError as error:
        meeting.send(error.message.encode()[:4096])
