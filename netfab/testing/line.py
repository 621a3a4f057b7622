"""What two processes of one pytest run say to each other: Python objects, and file descriptors with them.

Both ends are ours and of one user, so pickle serves. Nothing here knows what is said.
"""

from __future__ import annotations

import pickle
import socket
import struct
from collections.abc import Sequence
from typing import Any

from netfab.errors import NetfabError
from netfab.system.poll import readable
from netfab.tuples import NamedTuple

_HEAD = struct.Struct("=Q")  # bytes of the message that follows
_MOST = 16  # file descriptors with one message


class Failure(NamedTuple):
    """Said in the place of an answer."""

    error: BaseException


class Line:
    """One end of a stream. The other end's end is an EOFError."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    def fileno(self) -> int:
        """For poll(2): readable when something was said, or the other end is gone."""
        return self._socket.fileno()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def tell(self, value: object, fds: Sequence[int] = ()) -> None:
        """Raises OSError when the other end is gone."""
        data = pickle.dumps(value)
        head = _HEAD.pack(len(data))
        socket.send_fds(self._socket, [head], fds) if fds else self._socket.sendall(head)
        self._socket.sendall(data)

    def hear(self) -> tuple[Any, list[int]]:
        """The next thing that was said. Raises what the other end failed with; EOFError."""
        __tracebackhide__ = True  # pytest's: what failed is elsewhere
        head, fds, _, _ = socket.recv_fds(self._socket, _HEAD.size, _MOST, socket.MSG_CMSG_CLOEXEC)
        while 0 < len(head) < _HEAD.size:
            head += self._exactly(_HEAD.size - len(head))
        if not head:
            raise EOFError("the other end is gone")
        value = pickle.loads(self._exactly(*_HEAD.unpack(head)))
        if isinstance(value, Failure):
            raise value.error
        return value, list(fds)

    def waits(self, seconds: float | None = None) -> bool:
        """Whether there is something to hear within that time."""
        return bool(readable([self._socket], seconds))

    def _exactly(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            part = self._socket.recv(min(length - len(data), 1 << 20))
            if not part:
                raise EOFError("the other end is gone")
            data += part
        return bytes(data)


def failure(error: BaseException) -> Failure:
    """The failure as it can be said: an error that can't be pickled in its own words."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever its class does when it is pickled
        told = NetfabError(str(error) or type(error).__name__, hint=getattr(error, "hint", ""))
        return Failure(told)
    return Failure(error)
