"""The way to a host that is on this machine: a child that enters it, and answers over a socket pair."""

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
        """`enter` takes the child, which has one thread, to where the host is."""
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
        """It has our modules."""
        return b""

    def greet(self, line: bytes) -> bytes | None:
        """Nobody else is there."""
        return None

    def last_words(self) -> NetfabError:
        """It can't be asked any more."""
        return NetfabError("its agent ended")

    def hang_up(self) -> None:
        """The agent sees the end, and ends."""
        os.close(self.reading)

    def wait(self) -> None:
        """For its end."""
        os.waitpid(self._pid, 0)


def _become_agent(fd: int, where: Where, enter: Callable[[], None]) -> None:
    """Nothing of the parent's stays open here: others would not see it end."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the controller answers them, and tells us
        signal.signal(number, signal.SIG_IGN)
    os.dup2(fd, 3)
    os.closerange(4, os.sysconf("SC_OPEN_MAX"))
    gc.disable()  # as on a far host; what the parent has would be looked through, and copied
    enter()
    from netfab.remote.serve import serve

    serve(3, 3, where)
    os._exit(0)
