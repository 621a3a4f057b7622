"""Waiting for an interface of the namespace that the caller is in. Only reads."""

from __future__ import annotations

import select
from time import monotonic

from netfab.kernel.dumps import links
from netfab.kernel.netlink import Monitor, Netlink
from netfab.objects.wire import IFF_LOWER_UP, IFF_UP


def wait_for_carrier(interface: str, seconds: float | None) -> bool:
    """Whether the interface is there, up and has a carrier, now or within that time; None: whenever it is."""
    deadline = None if seconds is None else monotonic() + seconds
    netlink, monitor = Netlink(), Monitor()
    try:
        while not _carries(netlink, interface):
            left = None if deadline is None else deadline - monotonic()
            if left is not None and left <= 0:
                return False
            select.select([monitor], [], [], left)
            monitor.drain()
        return True
    finally:
        netlink.close()
        monitor.close()


def _carries(netlink: Netlink, interface: str) -> bool:
    wanted = IFF_UP | IFF_LOWER_UP
    return any(link.name == interface and link.flags & wanted == wanted for link in links(netlink))
