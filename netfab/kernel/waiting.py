"""Waiting for interfaces of the namespace that the caller is in. Only reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic

from netfab.kernel.dumps import links
from netfab.kernel.netlink import Monitor, Netlink
from netfab.objects.link import OPERSTATE, OPERSTATE_UP, Link
from netfab.objects.wire import (
    IFADDR,
    IFF_LOWER_UP,
    IFF_UP,
    IFINFO,
    RTM_NEWADDR,
    RTM_NEWLINK,
    messages,
    number,
    parse,
)
from netfab.system.poll import readable


def wait_for_carrier(interface: str, seconds: float | None) -> bool:
    """Whether the interface exists, is up and has a carrier, now or within that time; None: wait for ever."""
    return _wait(interface, seconds, _carries)


def wait_until_it_works(interface: str, seconds: float) -> bool:
    """Whether the kernel passes frames through it, now or within that time: a while after the carrier."""
    return _wait(interface, seconds, _works)


def wait_for_links(monitor: Monitor, indexes: set[int], seconds: float) -> None:
    """Wait until each of these links is reported to work, or to have an address; at most that long.

    Without links: until any notification.
    """
    left, deadline = set(indexes), monotonic() + seconds
    while (rest := deadline - monotonic()) > 0 and readable([monitor], rest):
        for data in monitor.heard():
            left.difference_update(_ready(data))
        if not left:
            return


def _ready(data: bytes) -> Iterator[int]:
    """The ifindexes of links that it reports as ready."""
    for kind, _, _, begin, end in messages(data):
        if kind == RTM_NEWLINK:
            _, _, index, _, _ = IFINFO.unpack_from(data, begin)
            if parse(data, begin + IFINFO.size, end).get(OPERSTATE) == bytes((OPERSTATE_UP,)):
                yield index
        elif kind == RTM_NEWADDR:
            yield IFADDR.unpack_from(data, begin)[4]


def _wait(interface: str, seconds: float | None, holds: Callable[[Link], bool]) -> bool:
    deadline = None if seconds is None else monotonic() + seconds
    netlink, monitor = Netlink(), Monitor()
    try:
        while not any(link.name == interface and holds(link) for link in links(netlink)):
            left = None if deadline is None else deadline - monotonic()
            if left is not None and left <= 0:
                return False
            monitor.wait(left)
        return True
    finally:
        netlink.close()
        monitor.close()


def _carries(link: Link) -> bool:
    wanted = IFF_UP | IFF_LOWER_UP
    return link.flags & wanted == wanted


def _works(link: Link) -> bool:
    return number(link.attrs.get(OPERSTATE, b"")) == OPERSTATE_UP
