"""A child that shares the work of this process: both take the next item from one pipe.

It sends its results over a socket. It ends with this process, even if that is killed, because it holds what
this one holds, a fabric's lock among it.
"""

from __future__ import annotations

import _signal as signal  # `signal` takes 0.5 ms
import os
from _socket import AF_UNIX, SOCK_CLOEXEC, socket, socketpair
from collections.abc import Callable
from contextlib import ExitStack
from typing import NoReturn

from netfab.system.process import die_with_parent

Do = Callable[[socket, int], None]


class Worker:
    """The child, as its parent sees it: `left` is the pipe with the work, `socket` leads to the child."""

    def __init__(self, kind: int, work: bytes, do: Do) -> None:
        """Call `do` in the child, with its end of the socket, and the pipe; `kind` is the socket's type.

        Work beyond the capacity of the pipe is lost (pipe(7)). Raises OSError if no child can be started.
        """
        self._maker = os.getpid()
        with ExitStack() as on_failure:
            self.left, fill = os.pipe()
            on_failure.callback(os.close, self.left)
            os.set_blocking(fill, False)
            os.write(fill, work)
            os.close(fill)
            self.socket, theirs = socketpair(AF_UNIX, kind | SOCK_CLOEXEC)
            on_failure.callback(self.socket.close)
            self._pid = os.fork()
            if not self._pid:
                self._live(do, theirs)
            theirs.close()
            on_failure.pop_all()

    def _live(self, do: Do, parent: socket) -> NoReturn:
        try:
            self.socket.close()  # so that sending fails once the parent is gone
            die_with_parent()
            do(parent, self.left)
        finally:
            os._exit(0)

    def end(self) -> None:
        """End the child, unless this process is another child, which inherited this object."""
        if os.getpid() == self._maker:
            os.close(self.left)
            self.socket.close()
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
