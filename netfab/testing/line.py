"""Messages between two processes of one pytest run: Python objects, and file descriptors with them.

Both ends are ours and run as one user, so pickle is safe. Nothing here knows what the messages mean.
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

_HEAD = struct.Struct("=Q")  # length in bytes of the message that follows
_MOST = 16  # file descriptors with one message


class Failure(NamedTuple):
    """Sent in place of an answer."""

    error: BaseException


class Line:
    """One end of a stream. Raises EOFError once the other end is closed."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    def fileno(self) -> int:
        """For poll(2): readable when there is a message, or the other end is closed."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close this end."""
        self._socket.close()

    def tell(self, value: object, fds: Sequence[int] = ()) -> None:
        """Send a message. Raises OSError if the other end is closed."""
        data = pickle.dumps(value)
        head = _HEAD.pack(len(data))
        socket.send_fds(self._socket, [head], fds) if fds else self._socket.sendall(head)
        self._socket.sendall(data)

    def hear(self) -> tuple[Any, list[int]]:
        """Receive the next message. Raises the other end's failure; EOFError."""
        __tracebackhide__ = True  # for pytest: the failure is elsewhere
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
        """Whether there is something to receive within that time."""
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
    """The failure as it can be sent: an error that can't be pickled, as text."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # its class may do anything when pickled
        told = NetfabError(str(error) or type(error).__name__, hint=getattr(error, "hint", ""))
        return Failure(told)
    return Failure(error)
