"""A connection from a node, over TCP or UDP, by a socket that was created there."""

from __future__ import annotations

import select
import socket
import time


class Connection:
    """An open connection; `socket` is the actual socket."""

    def __init__(self, opened: socket.socket) -> None:
        self.socket = opened

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it."""
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.socket.sendall(data)

    def recv(self, most: int = 1 << 16, within: float = 5) -> bytes:
        """The next data, up to `most` bytes. Raises TimeoutError after `within` seconds."""
        self.socket.settimeout(within)
        return self.socket.recv(most)

    def echo(self, data: bytes, within: float = 5) -> bool:
        """Whether all of it comes back unchanged within that many seconds."""
        deadline = time.monotonic() + within
        self.socket.setblocking(False)
        back, left = bytearray(), memoryview(data)
        while len(back) < len(data):
            poll = select.poll()
            poll.register(self.socket, select.POLLIN | (select.POLLOUT if left else 0))
            ready = poll.poll(max(0, deadline - time.monotonic()) * 1000)
            if not ready:
                return False
            ((_, events),) = ready
            if events & select.POLLOUT:
                left = left[self.socket.send(left) :]
            if events != select.POLLOUT:
                part = self.socket.recv(1 << 16)
                if not part:
                    return False
                back += part
        return bytes(back) == data
