"""Telling the neighbours who has an address now: gratuitous ARP, unsolicited neighbour advertisements.

Without them a switch or a peer that knew the address elsewhere keeps sending there until its own timers run
out. The kernel itself sends the ARP: it does when a MAC is set and arp_notify is on (inetdev_event,
net/ipv4/devinet.c). A packet socket would do, too; but its end waits for an RCU grace period, 11 ms each.

Who is on another host can't tell those on this one: bridges keep such frames out of tunnels that have
`neigh_suppress`. There it is said in their name, on this host's bridge, by one packet socket; or into a
tunnel, from which no bridge keeps it.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from struct import pack, unpack

from netfab.objects.base import Name
from netfab.objects.link import ADDRESS, AF_SPEC, INET_CONF, set_link
from netfab.objects.wire import AF_INET, Request, u32
from netfab.objects.wire import mac as packed

CONF_ARP_NOTIFY = 22  # linux/ip.h, IPV4_DEVCONF_ARP_NOTIFY
ADVERTISEMENT, OVERRIDE, TARGET_ADDRESS = 136, 0x20000000, 2  # RFC 4861, sections 4.4 and 4.6.1
ALL_NODES = "ff02::1"
ETH_P_IP, ETH_P_ARP, ETH_P_IPV6, IPPROTO_ICMPV6 = 0x0800, 0x0806, 0x86DD, 58


def arp_requests(link: Name, mac: str) -> list[Request]:
    """Messages that make the kernel announce every IPv4 address of a link; nothing else changes."""
    doing = f"announce {link}"
    on, off = (((AF_SPEC, ((AF_INET, ((INET_CONF, ((CONF_ARP_NOTIFY, u32(flag)),)),)),)),) for flag in (1, 0))
    again = ((ADDRESS, packed(mac)),)
    return [set_link(link, attrs, doing) for attrs in (on, again, off)]


def announce_for(others: Iterable[tuple[str, IPv4Address | IPv6Address, str]]) -> None:
    """Announce each (link, address, MAC) by a bridge or tunnel of this host: nodes retry every second.

    A link that is down by now is ignored.
    """
    import socket  # for fabrics of several hosts

    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        for link, address, mac in others:
            with suppress(OSError):
                raw.sendto(_frame(address, packed(mac)), (link, 0))


def _frame(address: IPv4Address | IPv6Address, mac: bytes) -> bytes:
    """A gratuitous ARP request (RFC 5227, section 3), or an unsolicited advertisement (RFC 4861, 7.2.6)."""
    if address.version == 4:
        sender = mac + address.packed
        arp = pack("!HHBBH", 1, ETH_P_IP, 6, 4, 1) + sender + bytes(6) + address.packed
        return b"\xff" * 6 + mac + pack("!H", ETH_P_ARP) + arp
    every = IPv6Address(ALL_NODES).packed
    body = pack("!I", OVERRIDE) + address.packed + pack("!BB", TARGET_ADDRESS, 1) + mac
    message = pack("!BBH", ADVERTISEMENT, 0, _checksum(address.packed + every, body)) + body
    header = pack("!IHBB", 6 << 28, len(message), IPPROTO_ICMPV6, 255) + address.packed + every
    return b"\x33\x33" + every[-4:] + mac + pack("!H", ETH_P_IPV6) + header + message


def _checksum(addresses: bytes, body: bytes) -> int:
    """The checksum of an advertisement (RFC 8200, section 8.1)."""
    whole = addresses + pack("!II", len(body) + 4, IPPROTO_ICMPV6) + bytes([ADVERTISEMENT, 0, 0, 0]) + body
    total: int = sum(unpack(f"!{len(whole) // 2}H", whole))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def advertise(link: str, mac: str, addresses: Iterable[IPv6Address]) -> None:
    """Send an advertisement for each address, out of a link of the namespace that this thread is in.

    A link that is down by now is ignored.
    """
    import socket  # for the few guests that have IPv6

    option = pack("!BB", TARGET_ADDRESS, 1) + packed(mac)
    for address in addresses:
        with suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
            raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)  # others are dropped
            index = socket.if_nametoindex(link)
            raw.bind((str(address), 0, 0, index))
            message = pack("!BBHI", ADVERTISEMENT, 0, 0, OVERRIDE) + address.packed + option
            raw.sendto(message, (ALL_NODES, 0, 0, index))
