"""Who holds a name that the kernel says exists already: looked up after a refusal, for the error message.

Knows the three messages that netfab creates things by; says nothing about what to do.
"""

from __future__ import annotations

from ipaddress import ip_address

from netfab.kernel.dumps import addresses, links, routes
from netfab.kernel.netlink import Netlink
from netfab.objects.address import IFA_LOCAL
from netfab.objects.link import IFNAME
from netfab.objects.route import RTA_DST, RTA_OIF, RTA_PRIORITY
from netfab.objects.wire import (
    IFADDR,
    IFINFO,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    RTMSG,
    messages,
    number,
    parse,
    text,
)


def holder(netlink: Netlink, message: bytes) -> str:
    """What already holds the place of what that message was to create, in words; "" if nothing is found."""
    ((kind, _, _, start, end),) = messages(message)
    if kind == RTM_NEWLINK:
        return _link(netlink, text(parse(message, start + IFINFO.size, end).get(IFNAME, b"")))
    if kind == RTM_NEWADDR:
        _, length, _, _, device = IFADDR.unpack_from(message, start)
        return _address(netlink, device, length, parse(message, start + IFADDR.size, end)[IFA_LOCAL])
    if kind == RTM_NEWROUTE:
        family, length, *_ = RTMSG.unpack_from(message, start)
        return _route(netlink, family, length, parse(message, start + RTMSG.size, end))
    return ""


def _link(netlink: Netlink, name: str) -> str:
    for link in links(netlink):
        if link.name == name:
            return f"{name} is a {link.kind or 'network device'} that netfab did not make"
    return ""


def _address(netlink: Netlink, device: int, length: int, packed: bytes) -> str:
    for held in addresses(netlink):
        if held.ifindex == device and held.length == length and held.attrs.get(IFA_LOCAL, packed) == packed:
            return f"it has {ip_address(packed)} already, and not from netfab"
    return ""


def _route(netlink: Netlink, family: int, length: int, wanted: dict[int, bytes]) -> str:
    names = {link.ifindex: link.name for link in links(netlink)}
    same = (RTA_DST, RTA_PRIORITY)
    for held in routes(netlink, ours=False):
        if (held.family, held.length) == (family, length) and all(
            held.attrs.get(kind) == wanted.get(kind) for kind in same
        ):
            device = names.get(number(held.attrs.get(RTA_OIF, b"")))
            via = f"via {device} " if device else ""
            return f"a route {via}is there that netfab did not make, protocol {held.protocol}"
    return ""
