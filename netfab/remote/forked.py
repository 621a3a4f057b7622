"""The transport to a host on this machine: a child that enters it, and answers over a socket pair."""

from __future__ import annotations

import gc
import os
import signal
import socket
from collections.abc import Callable

from netfab.errors import NetfabError
from netfab.where import Where


class Forked:
    """A Transport to an agent in a child process."""

    def __init__(self, where: Where, enter: Callable[[], None] = lambda: None) -> None:
        """`enter` moves the child, which is single-threaded, into the host."""
        ours, theirs = socket.socketpair()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                _become_agent(theirs.detach(), where, enter)
            finally:
                os._exit(1)
        theirs.close()
        self.reading = self.writing = ours.detach()

    def opening(self) -> bytes:
        """Nothing: it has our modules."""
        return b""

    def greet(self, line: bytes) -> bytes | None:
        """None: every line is the agent's."""
        return None

    def last_words(self) -> NetfabError:
        """The error for an agent that is gone."""
        return NetfabError("its agent ended")

    def hang_up(self) -> None:
        """Close the socket; the agent then ends."""
        os.close(self.reading)

    def wait(self) -> None:
        """Wait for the child."""
        os.waitpid(self._pid, 0)


def _become_agent(fd: int, where: Where, enter: Callable[[], None]) -> None:
    """Close everything of the parent's: peers would not see its descriptors close otherwise."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the controller handles them, and tells us
        signal.signal(number, signal.SIG_IGN)
    os.dup2(fd, 3)
    os.closerange(4, os.sysconf("SC_OPEN_MAX"))
    gc.disable()  # as on a remote host; a collection would traverse, and so copy, the parent's objects
    enter()
    from netfab.remote.serve import serve

    serve(3, 3, where)
    os._exit(0)
