"""Many slow reads, shared between two processes: this one, and a child of it.

The child begins at once, while this process still has other things to do, and hands over its results when
nothing is left. Then it waits, so that what it has opened stays open until it is closed here. If a child
fails, its part is missing.
"""

from __future__ import annotations

import marshal
import os
from _socket import SHUT_WR, SOCK_STREAM, socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from struct import calcsize, pack, unpack
from typing import Any

_NUMBER = "H"  # what is in the pipe: the numbers of batches of names
_FEW = 8


class Together:
    """A reading that a child process shares."""

    def __init__(self, names: Sequence[str], read: Callable[[str], Any]) -> None:
        """`read` returns plain values, for marshal, or raises FileNotFoundError for what is gone.

        Raises OSError if no child can be started.
        """
        from netfab.kernel.worker import Worker

        self._names, self._read = names, read
        numbers = b"".join(pack(_NUMBER, number) for number in range(-(-len(names) // _FEW)))
        self._worker = Worker(SOCK_STREAM, numbers, self._serve)

    def _serve(self, parent: socket, left: int) -> None:
        parent.sendall(marshal.dumps(self._read_what_is_left(left)))
        parent.shutdown(SHUT_WR)
        parent.recv(1)

    def finish(self) -> dict[str, Any]:
        """What both processes have read, by name."""
        found = self._read_what_is_left(self._worker.left)
        told = b"".join(iter(lambda: self._worker.socket.recv(1 << 20), b""))
        with suppress(EOFError, ValueError, TypeError):  # the answer is incomplete
            found |= marshal.loads(told)
        return found

    def close(self) -> None:
        """End the child."""
        self._worker.end()

    def _read_what_is_left(self, left: int) -> dict[str, Any]:
        found = {}
        while taken := os.read(left, calcsize(_NUMBER)):
            (number,) = unpack(_NUMBER, taken)
            for name in self._names[number * _FEW : (number + 1) * _FEW]:
                with suppress(FileNotFoundError):
                    found[name] = self._read(name)
        return found
