"""Many things of which each takes its time, read by two processes: this one, and a child of it.

Which of them are next both read from one pipe, so that neither waits for the other. The child begins at once,
while this process still has other things to do; what it read it hands over when nothing is left. Then it
waits, so that what it has opened is kept until it is closed here. A child that fails makes its part missing.
"""

from __future__ import annotations

import marshal
import os
import signal
from _socket import AF_UNIX, SHUT_WR, SOCK_CLOEXEC, SOCK_STREAM, socketpair
from collections.abc import Callable, Sequence
from contextlib import suppress
from struct import calcsize, pack, unpack
from typing import Any

FEWEST = 50  # that are worth a child
_NUMBER = "H"  # what the pipe has: the number of each few of them. 32,768 make it full
_FEW = 8


class Together:
    """A reading that has begun."""

    def __init__(self, names: Sequence[str], read: Callable[[str], Any]) -> None:
        """`read` gives plain values, as marshal takes them, or raises FileNotFoundError for what is gone.

        Raises OSError where there can be no child.
        """
        self._names, self._read = names, read
        self._left, numbers = os.pipe()
        os.write(numbers, b"".join(pack(_NUMBER, number) for number in range(-(-len(names) // _FEW))))
        os.close(numbers)
        self._found, theirs = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        self._pid = os.fork()
        if not self._pid:
            try:
                self._found.close()  # so that nothing is waited for once the parent is gone
                theirs.sendall(marshal.dumps(self._read_what_is_left()))
                theirs.shutdown(SHUT_WR)
                theirs.recv(1)
            finally:
                os._exit(0)
        theirs.close()

    def finish(self) -> dict[str, Any]:
        """What both have read, by name."""
        found = self._read_what_is_left()
        told = b"".join(iter(lambda: self._found.recv(1 << 20), b""))
        with suppress(EOFError, ValueError, TypeError):  # it is not all there
            found |= marshal.loads(told)
        return found

    def close(self) -> None:
        """End the child."""
        os.close(self._left)
        self._found.close()
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)

    def _read_what_is_left(self) -> dict[str, Any]:
        found = {}
        while taken := os.read(self._left, calcsize(_NUMBER)):
            (number,) = unpack(_NUMBER, taken)
            for name in self._names[number * _FEW : (number + 1) * _FEW]:
                with suppress(FileNotFoundError):
                    found[name] = self._read(name)
        return found
