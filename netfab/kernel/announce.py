"""Telling the neighbours who has an address now: gratuitous ARP, unsolicited neighbour advertisements.

Without them a switch or a peer that knew the address elsewhere keeps sending there until its own timers run
out. The kernel itself sends the ARP: it does when a MAC is set and arp_notify is on (inetdev_event,
net/ipv4/devinet.c). A packet socket would do, too; but its end waits for an RCU grace period, 11 ms each.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv6Address
from struct import pack

from netfab.objects.base import Name
from netfab.objects.link import ADDRESS, AF_SPEC, INET_CONF, set_link
from netfab.objects.wire import AF_INET, Request, u32
from netfab.objects.wire import mac as packed

CONF_ARP_NOTIFY = 22  # linux/ip.h, IPV4_DEVCONF_ARP_NOTIFY
ADVERTISEMENT, OVERRIDE, TARGET_ADDRESS = 136, 0x20000000, 2  # RFC 4861, sections 4.4 and 4.6.1
ALL_NODES = "ff02::1"


def arp_requests(link: Name, mac: str) -> list[Request]:
    """Messages that make the kernel announce every IPv4 address of a link; nothing else changes."""
    doing = f"announce {link}"
    on, off = (((AF_SPEC, ((AF_INET, ((INET_CONF, ((CONF_ARP_NOTIFY, u32(flag)),)),)),)),) for flag in (1, 0))
    again = ((ADDRESS, packed(mac)),)
    return [set_link(link, attrs, doing) for attrs in (on, again, off)]


def advertise(link: str, mac: str, addresses: Iterable[IPv6Address]) -> None:
    """Send an advertisement for each address, out of a link of the namespace that this thread is in.

    A link that is down meanwhile has nobody to tell.
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
