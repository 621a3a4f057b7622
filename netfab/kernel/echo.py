"""One echo request: whether an address answers (RFC 792, RFC 4443). Needs root."""

from __future__ import annotations

import os
import select
import socket
import struct
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from time import monotonic

_REQUEST, _REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}


def answers(address: IPv4Address | IPv6Address, seconds: float) -> bool:
    """Whether it does, within that time."""
    version = address.version
    if version == 4:
        door = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    else:
        door = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)  # the kernel sums it up
    ours = os.urandom(4)
    deadline = monotonic() + seconds
    with door:
        with suppress(OSError):  # no way there now: nobody answers
            door.sendto(_request(_REQUEST[version], ours), (str(address), 0))
        while (left := deadline - monotonic()) > 0 and select.select([door], [], [], left)[0]:
            data, (sender, *_) = door.recvfrom(2000)
            message = data[(data[0] & 15) * 4 :] if version == 4 else data
            if message[:1] == bytes((_REPLY[version],)) and message[4:8] == ours and sender == str(address):
                return True
    return False


def _request(kind: int, ours: bytes) -> bytes:
    head = struct.pack("!BB", kind, 0)
    total = sum(struct.unpack("!3H", head + ours))
    total = (total & 0xFFFF) + (total >> 16)
    return head + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + ours
