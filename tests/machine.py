"""What the leak fixture compares: everything of a machine that netfab could leave something in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from glob import iglob
from pathlib import Path

from netfab.kernel.dumps import addresses, links, routes
from netfab.kernel.netlink import Netlink
from netfab.kernel.xfrm import states_and_policies
from netfab.objects.link import ADDRESS, GROUP, IFALIAS, LINK, MASTER, MTU
from netfab.objects.wire import AF_INET
from netfab.objects.xfrm import ID, SELECTOR

_LINK_ATTRS = (MTU, LINK, MASTER, IFALIAS, GROUP, ADDRESS)  # no counters, no carrier
_ADDRESS_ATTRS = (1, 2)  # IFA_ADDRESS, IFA_LOCAL
_LOCAL, _ANYCAST, _MULTICAST = 2, 4, 5  # linux/rtnetlink.h, RTN_*
_ROUTE_ATTRS = (1, 4, 5, 6, 9, 15)  # RTA_DST, OIF, GATEWAY, PRIORITY, MULTIPATH, TABLE


def snapshot() -> dict[str, frozenset[object]]:
    """The network namespace and mount namespace that the caller is in, in comparable form."""
    netlink = Netlink()
    try:
        found: dict[str, frozenset[object]] = {
            "links": frozenset(
                (link.ifindex, link.name, link.flags & 1, *(link.attrs.get(attr) for attr in _LINK_ATTRS))
                for link in links(netlink)
            ),
            "addresses": frozenset(
                (message.ifindex, message.length, *(message.attrs.get(attr) for attr in _ADDRESS_ATTRS))
                for message in addresses(netlink)
                if not _is_made_by_the_kernel(message.attrs.get(1, b""))
            ),
            "routes": frozenset(
                (route.family, route.length, route.table, route.protocol, route.kind,
                 *(route.attrs.get(attr) for attr in _ROUTE_ATTRS))
                for route in routes(netlink, ours=False)
                if route.family == AF_INET or not _comes_by_itself(route.kind, route.attrs.get(1, b""))
            ),
        }  # fmt: skip
    finally:
        netlink.close()
    found["ipsec"] = frozenset(
        (message.type, message.header[: SELECTOR.size + ID.size]) for message in states_and_policies()
    )
    for name in ("/run/netns", "/run/netfab", "/var/lib/netfab"):
        found[name] = frozenset(below(name))
    with open("/proc/self/mounts") as file:
        found["mounts"] = frozenset(line for line in file if line.split()[1] != "/run/netns")
    found["forwarding"] = frozenset(settings("ipv4/conf/*/forwarding"))
    return found


def _is_made_by_the_kernel(address: bytes) -> bool:
    """A link-local one from a MAC (RFC 4291, appendix A), a while after there is a carrier."""
    return address[:2] == b"\xfe\x80" and address[11:13] == b"\xff\xfe"


def _comes_by_itself(kind: int, prefix: bytes) -> bool:
    """Whether an IPv6 route comes with an address, a while after that, or with a carrier."""
    return kind in (_LOCAL, _ANYCAST, _MULTICAST) or prefix[:1] == b"\xff" or prefix[:2] == b"\xfe\x80"


def below(directory: str) -> Iterator[str]:
    """All that is in there; what goes while we look is not."""
    for above, directories, files in os.walk(directory):
        yield from (f"{above}/{name}" for name in (*directories, *files))


def settings(pattern: str) -> Iterator[tuple[str, str]]:
    """Those below /proc/sys/net that can be read; of a link that goes meanwhile they can't be."""
    for path in iglob(f"/proc/sys/net/{pattern}"):
        with suppress(OSError):
            yield path, Path(path).read_text()


def differences(before: dict[str, frozenset[object]], after: dict[str, frozenset[object]]) -> list[str]:
    """What is there now and was not, and the reverse."""
    return [
        f"{sign} {what}: {thing!r}"
        for what in before
        for sign, things in (("+", after[what] - before[what]), ("-", before[what] - after[what]))
        for thing in sorted(things, key=repr)
    ]
