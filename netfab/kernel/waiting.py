"""Waiting for an interface of the namespace that the caller is in. Only reads."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from netfab.kernel.dumps import links
from netfab.kernel.netlink import Monitor, Netlink
from netfab.objects.link import OPERSTATE, OPERSTATE_UP, Link
from netfab.objects.wire import IFF_LOWER_UP, IFF_UP, number


def wait_for_carrier(interface: str, seconds: float | None) -> bool:
    """Whether the interface is there, up and has a carrier, now or within that time; None: whenever it is."""
    return _wait(interface, seconds, _carries)


def wait_until_it_works(interface: str, seconds: float) -> bool:
    """Whether the kernel passes frames by it, now or within that time: a while after it has a carrier."""
    return _wait(interface, seconds, _works)


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
