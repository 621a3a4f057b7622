"""Telling the neighbours who has an address now: a gratuitous ARP, an unsolicited neighbour advertisement.

Frames only; nothing is changed. Without them a switch or a peer that knew the address elsewhere keeps sending
there until its own timers run out.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from struct import pack

from netfab.objects.address import Address
from netfab.objects.wire import mac as packed

ETH_P_ARP, ETH_P_IPV6 = 0x0806, 0x86DD  # linux/if_ether.h
_EVERYBODY, _ALL_NODES = b"\xff" * 6, b"\x33\x33\0\0\0\x01"
_ALL_NODES6 = IPv6Address("ff02::1").packed
ICMPV6, ADVERTISEMENT, OVERRIDE, TARGET_ADDRESS = 58, 136, 0x20000000, 2  # RFC 4861, section 4.4


def announce(link: str, mac: str, addresses: Iterable[Address]) -> None:
    """Send for each address, out of a link of the namespace that this thread is in.

    A link that is down meanwhile has nobody to tell.
    """
    with suppress(OSError), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((link, 0))
        for thing in addresses:
            wire.send(frame(packed(mac), thing.address))


def frame(mac: bytes, address: IPv4Address | IPv6Address) -> bytes:
    """One announcement."""
    if isinstance(address, IPv4Address):
        reply = pack("!HHBBH", 1, 0x0800, 6, 4, 2) + mac + address.packed + _EVERYBODY + address.packed
        return _EVERYBODY + mac + pack("!H", ETH_P_ARP) + reply
    body = (
        pack("!BBHI", ADVERTISEMENT, 0, 0, OVERRIDE) + address.packed + pack("!BB", TARGET_ADDRESS, 1) + mac
    )
    checked = body[:2] + pack(
        "!H", _checksum(address.packed + _ALL_NODES6 + pack("!II", len(body), ICMPV6) + body)
    )
    head = pack("!IHBB", 0x60000000, len(body), ICMPV6, 255) + address.packed + _ALL_NODES6
    return _ALL_NODES + mac + pack("!H", ETH_P_IPV6) + head + checked + body[4:]


def _checksum(data: bytes) -> int:
    """RFC 1071; of an even number of bytes."""
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
