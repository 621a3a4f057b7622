"""A netlink socket: batches of requests with their errors, and dumps (netlink(7))."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

# The C part of `socket`: importing that, for a class not needed here, costs 6 ms at every start.
from _socket import AF_NETLINK, MSG_DONTWAIT, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_RAW, socket
from collections.abc import Callable, Iterator, Sequence
from threading import Thread
from typing import Self

from netfab.errors import KernelRefused
from netfab.objects.wire import NLM_F_DUMP, NLM_F_REQUEST, messages, parse
from netfab.system import linux
from netfab.system.poll import readable

NETLINK_ROUTE, NETLINK_XFRM, NETLINK_NETFILTER = 0, 6, 12
SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 270, 10, 11, 12
SIOCGSKNS = 0x894C  # linux/sockios.h
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_DUMP_INTR, NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x10, 0x100, 0x200
NLMSGERR_ATTR_MSG = 1
BATCH = 64  # messages that one send should hold; more gains nothing
_ERRNO = struct.Struct("=i")

Answer = tuple[bytes, int, int]  # a datagram, and where in it the body of one message begins and ends


class Netlink:
    """A netlink socket in the network namespace in which it was opened; it stays there."""

    def __init__(self, protocol: int = NETLINK_ROUTE) -> None:
        self._socket = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol)
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK):
            self._socket.setsockopt(SOL_NETLINK, option, 1)
        self._sequence = 0

    @classmethod
    def received(cls, fd: int) -> Self:
        """A Netlink from another process's socket, by its file descriptor, of which this takes ownership."""
        netlink = cls.__new__(cls)
        netlink._socket, netlink._sequence = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE, fd), 0
        return netlink

    def namespace(self) -> int:
        """A new file descriptor of the network namespace that the socket is in. Raises OSError."""
        return fcntl.ioctl(self._socket, SIOCGSKNS)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def fileno(self) -> int:
        """For poll(2)."""
        return self._socket.fileno()

    def next_sequence(self) -> int:
        """A sequence number that no other request of this socket has."""
        self._sequence += 1
        return self._sequence

    def batch(
        self, requests: Sequence[tuple[int, bytes]], beside: Callable[[], None] | None = None
    ) -> dict[int, tuple[int, str]]:
        """Send messages, given with their sequence numbers; (errno, extended ack) of those refused.

        No acknowledgement is asked for: the kernel carries out a batch inside the send, so every refusal is
        there to be read when it returns. It does not stop at the first one. Raises OSError; ENOBUFS: refusals
        were lost. `beside` is called while the kernel works.
        """
        data = b"".join(message for _, message in requests)
        if beside is None:
            self._socket.send(data)
        else:
            self._send_beside(data, beside)
        refused: dict[int, tuple[int, str]] = {}
        overrun: OSError | None = None
        while True:
            try:
                data = self._socket.recv(32768, MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                overrun = error  # still read the rest, lest the next batch take it for its own
                continue
            wanted = {sequence for sequence, _ in requests}
            for kind, flags, sequence, begin, end in messages(data):
                if kind == NLMSG_ERROR and sequence in wanted:
                    refused[sequence] = _refusal(data, flags, begin, end)
        if overrun is not None:
            raise overrun
        return refused

    def _send_beside(self, data: bytes, errand: Callable[[], None]) -> None:
        """Send in another thread, as the kernel does the work inside the send; run the errand in this one."""
        sending = Sending(self._socket, data)
        try:
            errand()
        finally:
            sending.finish()

    def get(self, kind: int, body: bytes) -> Answer:
        """The one message that answers. Raises OSError with the kernel's errno."""
        wanted = self.next_sequence()
        self._socket.send(struct.pack("=IHHII", 16 + len(body), kind, NLM_F_REQUEST, wanted, 0) + body)
        while True:
            try:
                data = self._socket.recv(32768)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                return self.get(kind, body)  # the answer was lost: ask again
            for found, flags, sequence, begin, end in messages(data):
                if sequence == wanted:
                    if found == NLMSG_ERROR:
                        raise OSError(*_refusal(data, flags, begin, end))
                    return data, begin, end

    def dump(self, kind: int, body: bytes) -> list[Answer]:
        """Every message that answers; repeated if the table changed meanwhile. Raises KernelRefused."""
        try:
            for _ in range(10):
                answers: list[Answer] = []
                if self._dump(kind, body, answers):
                    return answers
        except OSError as error:
            raise KernelRefused("read the kernel's tables", error.errno or 0, error.strerror or "") from error
        raise KernelRefused(
            "read the kernel's tables", errno.EAGAIN, "they changed during each of ten attempts"
        )

    def _dump(self, kind: int, body: bytes, answers: list[Answer]) -> bool:
        wanted = self.next_sequence()
        header = struct.pack("=IHHII", 16 + len(body), kind, NLM_F_REQUEST | NLM_F_DUMP, wanted, 0)
        self._socket.send(header + body)
        whole = True
        while True:
            try:
                data = self._socket.recv(32768)
            except OSError as error:
                if error.errno not in (errno.ENOBUFS, errno.ENOMEM):
                    raise
                whole = False  # answers were lost: read to the end, else no other dump can begin, then repeat
                continue
            for found, flags, sequence, begin, end in messages(data):
                if sequence != wanted:
                    continue
                if flags & NLM_F_DUMP_INTR:
                    whole = False
                if found == NLMSG_DONE:
                    return whole
                if found == NLMSG_ERROR:
                    number, words = _refusal(data, flags, begin, end)
                    raise OSError(number, words)
                answers.append((data, begin, end))


def _refusal(data: bytes, flags: int, begin: int, end: int) -> tuple[int, str]:
    """errno and extended acknowledgement of an NLMSG_ERROR."""
    (number,) = _ERRNO.unpack_from(data, begin)
    words = ""
    if flags & NLM_F_ACK_TLVS:
        (length,) = struct.unpack_from("=I", data, begin + 4)
        at = begin + 4 + (16 if flags & NLM_F_CAPPED else length)
        words = parse(data, at, end).get(NLMSGERR_ATTR_MSG, b"").rstrip(b"\0").decode(errors="replace")
    return -number, words


class Sending:
    """A send in a thread of its own; readable when it is over."""

    def __init__(self, way: socket, data: bytes) -> None:
        self._way, self._data = way, data
        self._failure: OSError | None = None
        self._over = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread: Thread | None = Thread(target=self._send)
        try:
            self._thread.start()
        except RuntimeError:  # no thread can be started: one after the other
            self._thread = None
            self._send()

    def _send(self) -> None:
        try:
            if self._thread is not None:
                # The kernel ends a thread a while after it was joined; one that shares our root and directory
                # would till then keep us from entering a mount namespace (setns(2), EINVAL).
                linux.unshare(linux.CLONE_FS)
            self._way.send(self._data)
        except OSError as error:
            self._failure = error
        finally:
            os.eventfd_write(self._over, 1)

    @property
    def done(self) -> bool:
        """Whether it is over."""
        return self._over == -1 or bool(readable([self._over], 0))

    def fileno(self) -> int:
        """For poll(2)."""
        return self._over

    def finish(self) -> None:
        """Wait until it is over. Raises OSError, once."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._over != -1:
            os.close(self._over)
            self._over = -1
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure


class Monitor:
    """A socket that becomes readable on notifications of these groups in its namespace."""

    LINKS, ADDRESSES6, ROUTES6 = 0x1, 0x100, 0x400  # RTMGRP_, linux/rtnetlink.h
    CONFIGURATIONS = 1 << 23  # RTNLGRP_IPV4_NETCONF: links' settings, which come and go with them

    def __init__(self, groups: int = LINKS | ADDRESSES6) -> None:
        self._socket = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE)
        self._socket.bind((0, groups))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def fileno(self) -> int:
        """For poll(2)."""
        return self._socket.fileno()

    def wait(self, seconds: float | None) -> None:
        """Wait for a notification, and discard it; at most that long, None: for ever."""
        readable([self], seconds)
        self.drain()

    def drain(self) -> None:
        """Discard the notifications received so far."""
        for _ in self.heard():
            pass

    def heard(self) -> Iterator[bytes]:
        """The datagrams received so far; not all if they were many."""
        while True:
            try:
                data = self._socket.recv(65536)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in (errno.ENOBUFS, errno.ENOMEM):
                    raise
                continue
            if not data:
                return
            yield data
