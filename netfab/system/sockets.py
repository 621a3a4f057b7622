"""Sockets for processes that must stay small: those of `_socket`, on which `socket` is built.

Importing `socket` costs a command 2 ms and a supervisor 0.3 MB, for constants as enumerations and for what
nothing here uses.
"""

from __future__ import annotations

from _socket import AF_UNIX as AF_UNIX
from _socket import CMSG_LEN, MSG_CMSG_CLOEXEC, SCM_RIGHTS, SOCK_STREAM, SOL_SOCKET, socket, socketpair
from _socket import SOCK_SEQPACKET as SOCK_SEQPACKET
from array import array
from collections.abc import Sequence

from netfab import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self


class Socket(socket):
    """A socket that is closed at the end of a `with`."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def pair() -> tuple[Socket, Socket]:
    """Two connected sockets."""
    one, other = (Socket(AF_UNIX, SOCK_STREAM, 0, end.detach()) for end in socketpair())
    return one, other


def accepted(door: Socket) -> Socket:
    """The next connection."""
    fd, _ = door._accept()  # type: ignore[attr-defined]  # typeshed omits it; it is all of accept(2)
    return Socket(door.family, door.type, door.proto, fd)


def send_descriptors(way: Socket, data: bytes, descriptors: Sequence[int]) -> None:
    """Send a message with descriptors; unix(7). Raises OSError."""
    way.sendmsg([data], [(SOL_SOCKET, SCM_RIGHTS, array("i", descriptors))] if descriptors else [])


def receive_descriptors(way: Socket, size: int, most: int) -> tuple[bytes, list[int]]:
    """A message, and the descriptors that came with it, close-on-exec. Raises OSError."""
    found = array("i")
    data, told, _, _ = way.recvmsg(size, CMSG_LEN(most * found.itemsize), MSG_CMSG_CLOEXEC)
    for level, kind, numbers in told:
        if (level, kind) == (SOL_SOCKET, SCM_RIGHTS):
            found.frombytes(numbers[: len(numbers) - len(numbers) % found.itemsize])
    return data, list(found)
