"""Echo requests: who answers, and by which hops it is reached (RFC 792, RFC 4443). Needs root."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from time import monotonic

from netfab.system.poll import readable
from netfab.tuples import NamedTuple

Address = IPv4Address | IPv6Address
MOST_HOPS = 64  # a packet's default hop limit (net.ipv4.ip_default_ttl)
_REQUEST, _REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}
_EXCEEDED = {4: 11, 6: 3}
_HEADER = {4: 20, 6: 40}  # bytes, of the packet that an error quotes
_QUEUE = 300  # packets that a socket's buffer holds at most, foreign ones included (net.core.rmem_default)
_AGAIN = 0.25  # seconds after which a request is repeated


def answers(address: Address, seconds: float) -> bool:
    """Whether it answers within that time."""
    return bool(answering([address], seconds))


def answering(addresses: Collection[Address], seconds: float) -> dict[Address, float]:
    """Those that answer within that time, and after how many seconds each did."""
    found: dict[Address, float] = {}
    begun = monotonic()
    with _Echo({address.version for address in addresses}) as echo:
        for wait in _waits(begun, seconds):
            for address in addresses:
                if address not in found:
                    echo.send(address, 0)
            for answer in echo.heard(wait, enough=len(set(addresses)) - len(found)):
                if answer.replies and answer.sender in addresses:
                    found.setdefault(answer.sender, answer.at - begun)
            if len(found) == len(set(addresses)):
                break
    return found


def _waits(begun: float, seconds: float) -> Iterator[float]:
    """How long to wait after each request; the first is sent however late we are."""
    left = seconds
    while True:
        yield min(left, _AGAIN)
        left = begun + seconds - monotonic()
        if left <= 0:
            return


def hops(address: Address, seconds: float) -> tuple[Address | None, ...]:
    """The routers on the way to an address that answers, then itself; None where one is silent.

    Empty if the address does not answer within that time.
    """
    found: dict[int, Address] = {}
    with _Echo({address.version}) as echo:
        for distance in range(1, MOST_HOPS + 1):
            echo.send(address, distance)
        reached = MOST_HOPS + 1
        for answer in echo.heard(seconds):
            found[answer.distance] = answer.sender
            if answer.replies:
                reached = min(reached, answer.distance)
            if found.keys() >= set(range(1, reached + 1)):
                break
    return tuple(map(found.get, range(1, reached + 1))) if reached <= MOST_HOPS else ()


def passes(address: Address, size: int, seconds: float) -> bool:
    """Whether a packet of `size` bytes that must not be fragmented is answered (RFC 1191, RFC 8201)."""
    begun = monotonic()
    with _Echo({address.version}, size - _HEADER[address.version] - 8) as echo:
        for wait in _waits(begun, seconds):
            echo.send(address, 0)
            if any(answer.replies for answer in echo.heard(wait, enough=1)):
                return True
    return False


class _Answer(NamedTuple):
    sender: Address
    distance: int  # the hop limit that was sent; 0: the kernel's default
    replies: bool  # else a router reports that the hop limit was exceeded
    at: float


class _Echo:
    """Sockets for echo requests; answers to others' requests are recognized and ignored."""

    def __init__(self, versions: Iterable[int], payload: int = 0) -> None:
        self._ours = os.urandom(2)
        self._payload = bytes(payload)
        self._doors: Mapping[int, socket.socket] = {version: _raw(version) for version in versions}
        if payload:
            for version, door in self._doors.items():
                door.setsockopt(*_NEVER_CUT[version])

    def __enter__(self) -> _Echo:
        return self

    def __exit__(self, *_: object) -> None:
        for door in self._doors.values():
            door.close()

    def send(self, address: Address, distance: int) -> None:
        """Send a request with a hop limit of `distance`; 0: the default."""
        version = address.version
        ours = self._ours + struct.pack("!H", distance)
        level, option = _HOP_LIMIT[version]
        limit = struct.pack("i", distance)
        ancillary = [(level, option, limit)] if distance else []
        with suppress(OSError):  # no route there now: nobody answers
            self._doors[version].sendmsg(
                [_request(_REQUEST[version], ours + self._payload)], ancillary, 0, (str(address), 0)
            )

    def heard(self, seconds: float, enough: int | None = None) -> Iterable[_Answer]:
        """Answers within that time, and any already received if we are late; stops after `enough` replies."""
        deadline = monotonic() + seconds
        replies = late = 0
        while replies != enough and late < _QUEUE:
            left = deadline - monotonic()
            late += left <= 0
            ready = readable(self._doors.values(), left)
            if not ready:
                return
            for door in ready:
                if answer := self._read(door):
                    replies += answer.replies
                    yield answer

    def _read(self, door: socket.socket) -> _Answer | None:
        data, (sender, *_) = door.recvfrom(2000)
        version = 6 if door.family == socket.AF_INET6 else 4
        message = data[(data[0] & 15) * 4 :] if version == 4 else data
        replies = message[:1] == bytes((_REPLY[version],))
        if not replies:
            if message[:1] != bytes((_EXCEEDED[version],)):
                return None
            message = message[8 + _HEADER[version] :]  # the request whose hop limit was exceeded
        if message[4:6] != self._ours or len(message) < 8:
            return None
        (distance,) = struct.unpack("!H", message[6:8])
        return _Answer(ip_address(sender.partition("%")[0]), distance, replies, monotonic())


_HOP_LIMIT = {4: (socket.IPPROTO_IP, socket.IP_TTL), 6: (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT)}


# IP_MTU_DISCOVER and IPV6_MTU_DISCOVER: IP_PMTUDISC_PROBE, which is DF whatever was learned (linux/in.h).
_NEVER_CUT = {4: (socket.IPPROTO_IP, 10, 3), 6: (socket.IPPROTO_IPV6, 23, 3)}


def _raw(version: int) -> socket.socket:
    if version == 4:
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    return socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)  # the kernel sums it


def _request(kind: int, rest: bytes) -> bytes:
    """The message; the checksum takes what follows identifier and number to be zeros (RFC 1071)."""
    head = struct.pack("!BB", kind, 0)
    total = sum(struct.unpack("!3H", head + rest[:4]))
    total = (total & 0xFFFF) + (total >> 16)
    return head + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + rest
