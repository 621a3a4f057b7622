"""Network namespaces created ahead: by a child of this process while it plans, then by both.

They have no name yet, so nobody sees them, and only the sockets that are handed over hold them: what is not
used ends with this process, even if it is killed. Half of the kernel's work for a node is its namespace.
"""

from __future__ import annotations

import os
from _socket import CMSG_LEN, MSG_CMSG_CLOEXEC, MSG_DONTWAIT, SCM_RIGHTS, SOCK_SEQPACKET, SOL_SOCKET, socket
from contextlib import suppress
from functools import partial
from struct import calcsize, iter_unpack, pack
from typing import TYPE_CHECKING

from netfab.kernel.netlink import Netlink
from netfab.objects.link import GROUP
from netfab.objects.wire import IFF_UP, IFINFO, RTM_NEWLINK, Body, Request, encode, no_name, u32
from netfab.system import linux

if TYPE_CHECKING:
    from netfab.kernel.worker import Worker

_TOGETHER = 16  # sockets in one message; the kernel takes 253 (unix(7))


class Ahead:
    """Namespaces that a child process is creating ahead of use; fewer of them if it fails."""

    def __init__(self, count: int, group: int) -> None:
        from netfab.kernel.worker import Worker

        self._received: list[int] = []  # file descriptors that were not taken yet
        self._worker: Worker | None = Worker(SOCK_SEQPACKET, bytes(count), partial(_make, group))

    def take(self) -> Netlink | None:
        """A socket in an unused namespace; None if creating one takes less time."""
        if self._worker is None:
            return None
        if not self._received and not self._receive(self._worker, MSG_DONTWAIT):
            if os.read(self._worker.left, 1):
                return None  # and the child creates one less
            self._receive(self._worker)
        if not self._received:
            self.close()
            return None
        return Netlink.received(self._received.pop())

    def _receive(self, worker: Worker, flags: int = 0) -> bool:
        with suppress(OSError):
            _, received, _, _ = worker.socket.recvmsg(
                1, CMSG_LEN(_TOGETHER * calcsize("i")), flags | MSG_CMSG_CLOEXEC
            )
            self._received = [fd for _, _, data in received for (fd,) in iter_unpack("i", data)]
        return bool(self._received)

    def close(self) -> None:
        """End the child, and the namespaces that were not taken."""
        while self._received:
            os.close(self._received.pop())
        if self._worker is not None:
            self._worker.end()
            self._worker = None


def _make(group: int, parent: socket, left: int) -> None:
    while begun := os.read(left, _TOGETHER):
        made = [new_namespace(group) for _ in begun]
        fds = [netlink.fileno() for netlink in made]
        parent.sendmsg([b"\0"], [(SOL_SOCKET, SCM_RIGHTS, pack(f"{len(fds)}i", *fds))])
        for netlink in made:
            netlink.close()


def new_namespace(group: int) -> Netlink:
    """Move this thread into a new network namespace, lo grouped (our mark) and up; return a socket in it.

    Raises OSError.
    """
    linux.unshare(linux.CLONE_NEWNET)
    netlink = Netlink()
    mark = Request("", RTM_NEWLINK, 0, Body(IFINFO, (0, 0, 1, IFF_UP, IFF_UP), ((GROUP, u32(group)),)))
    if refused := netlink.batch([(1, encode(mark, no_name, 1))]):
        raise OSError(*refused[1])
    return netlink
