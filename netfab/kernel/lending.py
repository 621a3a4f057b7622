"""Steps of lending a NIC to a bridge that are no single message: waiting for carrier, copying neighbours."""

from __future__ import annotations

import os
from errno import ENETDOWN
from time import monotonic

from netfab.kernel.dumps import ALL_LINKS, addresses
from netfab.kernel.netlink import Monitor, Netlink
from netfab.objects.address import IFA_ADDRESS, IFA_F_TENTATIVE, IFA_FLAGS, IFA_LOCAL
from netfab.objects.link import OPERSTATE, OPERSTATE_UP, Link
from netfab.objects.route import RTA_DST, RTA_OIF
from netfab.objects.wire import (
    AF_INET6,
    IFF_LOWER_UP,
    IFINFO,
    NDMSG,
    NLM_F_CREATE,
    NLM_F_REPLACE,
    RTM_GETLINK,
    RTM_GETNEIGH,
    RTM_GETROUTE,
    RTM_NEWNEIGH,
    RTMSG,
    Body,
    Request,
    encode,
    number,
    parse,
)

PATIENCE = 3.0  # seconds; the kernel tells a bridge of its ports' carrier within one (net/core/link_watch.c)
NUD_STALE, NUD_PERMANENT = 0x04, 0x80  # linux/neighbour.h
_KNOWN = 0x02 | NUD_STALE | 0x08 | 0x10 | NUD_PERMANENT  # NUD_REACHABLE, _DELAY, _PROBE
_ROUTER = 0x80  # NTF_ROUTER
NDA_DST, NDA_LLADDR = 1, 2
_LOCAL6 = RTMSG.pack(AF_INET6, 0, 0, 0, 255, 0, 0, 0, 0)  # RT_TABLE_LOCAL


def await_carrier(netlink: Netlink, bridge: int, port: int) -> None:
    """Wait until the bridge of that ifindex has a carrier if its port has. Raises OSError on timeout."""
    deadline = monotonic() + PATIENCE
    monitor = Monitor()
    try:
        late = False
        while _link(netlink, port).flags & IFF_LOWER_UP:
            if number(_link(netlink, bridge).attrs.get(OPERSTATE, b"")) == OPERSTATE_UP:
                return
            if late:
                raise OSError(ENETDOWN, f"{os.strerror(ENETDOWN)} after {PATIENCE:.0f} s")
            monitor.wait(0.01)
            late = monotonic() > deadline  # before the next check: a state reached in time counts
    finally:
        monitor.close()


def await_addresses(netlink: Netlink, ifindex: int) -> None:
    """Wait until the link accepts packets to its IPv6 addresses, unless they are still tentative."""
    deadline = monotonic() + PATIENCE
    monitor = Monitor(Monitor.ADDRESSES6 | Monitor.ROUTES6)
    try:
        while _is_deaf(netlink, ifindex) and (left := deadline - monotonic()) > 0:
            monitor.wait(left)
    finally:
        monitor.close()


def _is_deaf(netlink: Netlink, ifindex: int) -> bool:
    """Whether an address of the link has no local route there."""
    local = {
        attrs[RTA_DST]
        for data, start, end in netlink.dump(RTM_GETROUTE, _LOCAL6)
        for attrs in (parse(data, start + RTMSG.size, end),)
        if RTA_DST in attrs and number(attrs.get(RTA_OIF, b"")) == ifindex
    }
    return any(
        message.ifindex == ifindex
        and message.family == AF_INET6
        and not number(message.attrs.get(IFA_FLAGS, b"")) & IFA_F_TENTATIVE
        and (message.attrs.get(IFA_LOCAL) or message.attrs[IFA_ADDRESS]) not in local
        for message in addresses(netlink)
    )


def _link(netlink: Netlink, ifindex: int) -> Link:
    query = IFINFO.pack(0, 0, ifindex, 0, 0) + ALL_LINKS[IFINFO.size :]
    data, start, end = netlink.get(RTM_GETLINK, query)
    _, _, index, flags, _ = IFINFO.unpack_from(data, start)
    return Link.parse(index, flags, data, start + IFINFO.size, end)


def copy_neighbours(netlink: Netlink, source: int, target: int) -> None:
    """Copy one link's neighbour entries to the other, to be confirmed on use.

    The kernel will resolve those that it refuses.
    """
    found = []
    for data, start, end in netlink.dump(RTM_GETNEIGH, bytes(NDMSG.size)):
        family, index, state, flags, kind = NDMSG.unpack_from(data, start)
        attrs = parse(data, start + NDMSG.size, end)
        if index == source and state & _KNOWN and NDA_LLADDR in attrs:
            kept = state if state == NUD_PERMANENT else NUD_STALE
            body = Body(
                NDMSG,
                (family, target, kept, flags & _ROUTER, kind),
                ((NDA_DST, attrs[NDA_DST]), (NDA_LLADDR, attrs[NDA_LLADDR])),
            )
            found.append(Request("", RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, body))
    if found:
        numbered = [(netlink.next_sequence(), request) for request in found]
        netlink.batch([(number, encode(request, lambda _: 0, number)) for number, request in numbered])
