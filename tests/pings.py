"""Echo requests at a steady pace, in both directions and families at once: what was lost, and for how long.

Replies have the kernel's own time of arrival, so that a busy machine counts as little as it can.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from itertools import pairwise
from time import monotonic, time
from typing import NamedTuple

from netfab.system import linux

PACE = 0.01  # seconds between two requests
LATE = 1.0  # seconds after the last request in which a reply still counts
SO_TIMESTAMPNS = 35  # asm-generic/socket.h
_REQUEST, _REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}  # RFC 792, RFC 4443


class Way(NamedTuple):
    """From a network namespace (a path, "" = here) to an address."""

    source: str
    target: str


class Heard(NamedTuple):
    """What came of one way's requests."""

    sent: int
    lost: int
    gap: float  # seconds between two replies, at most, less what we were late with


class Pings:
    """While they run; `heard` when they have ended."""

    def __init__(self) -> None:
        self.heard: dict[Way, Heard] = {}


@contextmanager
def pings(ways: list[Way]) -> Iterator[Pings]:
    """Requests on every way, in a process of its own, from when each was answered once."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            os.write(writing, pickle.dumps(_run(ways, writing)))
        finally:
            os._exit(0)
    os.close(writing)
    running = Pings()
    with os.fdopen(reading, "rb") as answer:
        try:
            assert answer.read(1) == b"+", "no answer to begin with"
            yield running
        finally:
            os.kill(child, signal.SIGUSR1)
            told = answer.read()
            os.waitpid(child, 0)
    running.heard = pickle.loads(told)


class _Line:
    """One way's socket and what it has seen."""

    def __init__(self, number: int, way: Way) -> None:
        self.number, self.way = number, way
        self.family = ip_address(way.target).version
        self.socket = _opened(way, self.family)
        self.sent: list[float] = []  # when each was
        self.arrived: dict[int, float] = {}  # when, by number

    def send(self) -> None:
        self.sent.append(time())
        body = struct.pack("!BBHHH", _REQUEST[self.family], 0, 0, self._id, len(self.sent)) + b"\0" * 8
        if self.family == 4:
            body = body[:2] + struct.pack("!H", _checksum(body)) + body[4:]
        with suppress(OSError):  # no route, just now: lost, as it is to everybody
            self.socket.sendto(body, (self.way.target, 0))

    def receive(self) -> None:
        data, control, _, _ = self.socket.recvmsg(200, 200)
        header = data[20:] if self.family == 4 else data
        kind, _, _, found, sequence = struct.unpack_from("!BBHHH", header)
        if kind == _REPLY[self.family] and found == self._id:
            seconds, nanoseconds = struct.unpack("qq", control[0][2])
            self.arrived.setdefault(sequence, seconds + nanoseconds / 1e9)

    @property
    def _id(self) -> int:
        return (os.getpid() + self.number) & 0xFFFF

    def heard(self) -> Heard:
        answered = sorted(self.arrived)
        gaps = [
            self.arrived[later] - self.arrived[earlier] - self._late(earlier, later)
            for earlier, later in pairwise(answered)
        ]
        return Heard(len(self.sent), len(self.sent) - len(self.arrived), max(gaps, default=0))

    def _late(self, earlier: int, later: int) -> float:
        """By how much we were late ourselves with the request after the first of two."""
        return max(0.0, self.sent[later - 1] - self.sent[earlier - 1] - (later - earlier) * PACE)


def _opened(way: Way, family: int) -> socket.socket:
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(way.source or "/proc/thread-self/ns/net", os.O_RDONLY)
    linux.setns(there, linux.CLONE_NEWNET)
    try:
        kind = (
            (socket.AF_INET, socket.IPPROTO_ICMP) if family == 4 else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
        )
        opened = socket.socket(kind[0], socket.SOCK_RAW, kind[1])
        opened.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        return opened
    finally:
        linux.setns(home, linux.CLONE_NEWNET)
        os.close(home)
        os.close(there)


def _run(ways: list[Way], ready: int) -> dict[Way, Heard]:
    stop = False

    def stopped(_: int, __: object) -> None:
        nonlocal stop
        stop = True

    signal.signal(signal.SIGUSR1, stopped)
    lines = [_Line(number, way) for number, way in enumerate(ways)]
    _until(lines, lambda: all(line.arrived for line in lines), 60)
    for line in lines:
        line.sent, line.arrived = [], {}
    os.write(ready, b"+")
    _until(lines, lambda: stop, 600)
    deadline, heard = monotonic() + LATE, True
    while any(len(line.arrived) < len(line.sent) for line in lines) and (heard or monotonic() < deadline):
        heard = _listen(lines, 0.05)
    return {line.way: line.heard() for line in lines}


def _until(lines: list[_Line], over: Callable[[], bool], seconds: float) -> None:
    begin = monotonic()
    turn = 0
    while not over() and monotonic() < begin + seconds:
        for line in lines:
            line.send()
        turn += 1
        while (left := begin + turn * PACE - monotonic()) > 0:
            _listen(lines, left)


def _listen(lines: list[_Line], seconds: float) -> bool:
    """Whether something came within that time."""
    by_socket = {line.socket: line for line in lines}
    ready = select.select(list(by_socket), [], [], seconds)[0]
    for one in ready:
        by_socket[one].receive()
    return bool(ready)


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF
