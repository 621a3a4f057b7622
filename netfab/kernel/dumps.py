"""One dump of each kind of thing in a network namespace, as the object kinds read it. Only reads."""

from __future__ import annotations

import marshal
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from netfab.kernel.netlink import Netlink
from netfab.objects.address import WANTED, AddressMessage
from netfab.objects.base import Space
from netfab.objects.digest import digest
from netfab.objects.link import AF_SPEC, DATA, LOOPBACK_IFINDEX, Link, wanted_of
from netfab.objects.port import Entry, entries
from netfab.objects.route import RouteMessage
from netfab.objects.wire import (
    AF_BRIDGE,
    IFADDR,
    IFINFO,
    MARK,
    NDMSG,
    RT_SCOPE_HOST,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETNEIGH,
    RTM_GETQDISC,
    RTM_GETROUTE,
    RTMSG,
    TCMSG,
    located,
    parse,
)
from netfab.tuples import NamedTuple

if TYPE_CHECKING:
    from netfab.objects.neighbour import NeighbourMessage
    from netfab.objects.qdisc import QdiscMessage

EXT_MASK, BRVLAN, SKIP_STATS = 29, 0x2, 0x8  # IFLA_EXT_MASK, RTEXT_FILTER_BRVLAN, RTEXT_FILTER_SKIP_STATS
ALL_LINKS = (
    IFINFO.pack(0, 0, 0, 0, 0) + b"\x08\0" + EXT_MASK.to_bytes(2, "little") + SKIP_STATS.to_bytes(4, "little")
)
_ALL_VLANS = (
    IFINFO.pack(AF_BRIDGE, 0, 0, 0, 0)
    + b"\x08\0"
    + EXT_MASK.to_bytes(2, "little")
    + BRVLAN.to_bytes(4, "little")
)
_LO = IFINFO.pack(0, 0, LOOPBACK_IFINDEX, 0, 0) + ALL_LINKS[IFINFO.size :]
ALL_ADDRESSES = IFADDR.pack(0, 0, 0, 0, 0)
_ROUTES = RTMSG.pack(0, 0, 0, 0, 0, MARK, 0, 0, 0)  # with strict checking: only those of our protocol
ALL_ROUTES = RTMSG.pack(0, 0, 0, 0, 0, 0, 0, 0, 0)
_BRIDGE = b"bridge\0"  # IFLA_INFO_KIND
_Located = tuple[int, int, tuple[tuple[int, ...], tuple[bytes, ...]]]  # ifindex, flags, attributes of a link
_Plain = tuple[Any, ...]  # an AddressMessage or RouteMessage, for marshal
_Raw = tuple[list[_Located], list[_Plain], list[_Plain], bytes]  # links, addresses, routes; a fingerprint


def links(netlink: Netlink) -> list[Link]:
    """Every link of the socket's namespace."""
    return [
        Link.parse(index, flags, data, start + IFINFO.size, end)
        for data, start, end in netlink.dump(RTM_GETLINK, ALL_LINKS)
        for _, _, index, flags, _ in (IFINFO.unpack_from(data, start),)
    ]


def addresses(netlink: Netlink) -> list[AddressMessage]:
    """Every address of the socket's namespace."""
    return [
        AddressMessage(family, length, index, parse(data, start + IFADDR.size, end, WANTED))
        for data, start, end in netlink.dump(RTM_GETADDR, ALL_ADDRESSES)
        for family, length, _, _, index in (IFADDR.unpack_from(data, start),)
    ]


def marked_addresses(netlink: Netlink) -> list[AddressMessage]:
    """Those that netfab added; the kernel's own, two of three, are lo's and of another scope."""
    found = (
        AddressMessage(family, length, index, parse(data, start + IFADDR.size, end, WANTED))
        for data, start, end in netlink.dump(RTM_GETADDR, ALL_ADDRESSES)
        for family, length, _, scope, index in (IFADDR.unpack_from(data, start),)
        if scope != RT_SCOPE_HOST
    )
    return [message for message in found if message.marked]


def routes(netlink: Netlink, ours: bool = True) -> list[RouteMessage]:
    """Routes of the socket's namespace: those that carry our protocol, or all."""
    return [
        RouteMessage(family, length, table, protocol, kind, parse(data, start + RTMSG.size, end))
        for data, start, end in netlink.dump(RTM_GETROUTE, _ROUTES if ours else ALL_ROUTES)
        for family, length, _, _, table, protocol, _, kind, _ in (RTMSG.unpack_from(data, start),)
    ]


def vlans(netlink: Netlink) -> dict[int, tuple[Entry, ...]]:
    """The VLANs of every bridge and every bridge port in the socket's namespace, by ifindex."""
    return {
        index: entries(parse(data, start + IFINFO.size, end).get(AF_SPEC, b""))
        for data, start, end in netlink.dump(RTM_GETLINK, _ALL_VLANS)
        for _, _, index, _, _ in (IFINFO.unpack_from(data, start),)
    }


def qdiscs(netlink: Netlink) -> list[QdiscMessage]:
    """Every queueing discipline of the socket's namespace."""
    from netfab.objects.qdisc import QdiscMessage

    return [
        QdiscMessage(index, parent, parse(data, start + TCMSG.size, end))
        for data, start, end in netlink.dump(RTM_GETQDISC, bytes(TCMSG.size))
        for _, index, _, parent, _ in (TCMSG.unpack_from(data, start),)
    ]


def neighbours(netlink: Netlink) -> list[NeighbourMessage]:
    """Every forwarding entry of the bridges and tunnels of the socket's namespace, and every neighbour."""
    from netfab.objects.neighbour import WANTED as WANTED_OF_NEIGHBOURS
    from netfab.objects.neighbour import NeighbourMessage

    return [
        NeighbourMessage(
            family, index, state, flags, parse(data, start + NDMSG.size, end, WANTED_OF_NEIGHBOURS)
        )
        for of in (AF_BRIDGE, 0)
        for data, start, end in netlink.dump(RTM_GETNEIGH, NDMSG.pack(of, 0, 0, 0, 0))
        for family, index, state, flags, _ in (NDMSG.unpack_from(data, start),)
    ]


def _raw(netlink: Netlink) -> _Raw:
    links, addresses, routed, _ = _raw_unsteady(netlink)
    return links, addresses, routed, _known_by(links, addresses, routed)


def _raw_unsteady(netlink: Netlink) -> _Raw:
    return _located_links(netlink), _plain(marked_addresses(netlink)), _plain(routes(netlink)), b""


def _whole(raw: _Raw) -> Space:
    found, addresses, routed, known_by = raw
    links = [_link(one) for one in found]
    messages = [AddressMessage(*told) for told in addresses], [RouteMessage(*told) for told in routed]
    return Space(links, *messages, known_by)


def _glimpse(netlink: Netlink) -> bytes:
    return _raw(netlink)[3]


def _unseen(known_by: bytes) -> Space:
    return Space([], [], [], known_by)


def _link(found: _Located) -> Link:
    index, flags, attrs = found
    return Link.of(index, flags, dict(zip(*attrs, strict=True)))


def _located_links(netlink: Netlink) -> list[_Located]:
    return [
        (index, flags, located(data, start + IFINFO.size, end, wanted_of(index)))
        for data, start, end in netlink.dump(RTM_GETLINK, ALL_LINKS)
        for _, _, index, flags, _ in (IFINFO.unpack_from(data, start),)
    ]


def _plain(messages: list[Any]) -> list[tuple[Any, ...]]:
    return [tuple(message) for message in messages]


def _known_by(links: list[_Located], addresses: list[_Plain], routes: list[_Plain]) -> bytes:
    steady = [link if _BRIDGE not in link[2][1] else _without_timers(link) for link in links]
    # In version 2 of marshal equal values are equal bytes, even if they share objects. It takes no named
    # tuples.
    return digest(marshal.dumps((steady, addresses, routes), 2))


def _without_timers(link: _Located) -> _Located:
    """A bridge, without its running timers."""
    index, flags, (paths, values) = link
    kept = tuple(value for path, value in zip(paths, values, strict=True) if path != DATA)
    return index, flags, (paths, kept)


def _lo(netlink: Netlink) -> _Located:
    data, start, end = netlink.get(RTM_GETLINK, _LO)
    _, _, index, flags, _ = IFINFO.unpack_from(data, start)
    return index, flags, located(data, start + IFINFO.size, end, wanted_of(index))


def lo(netlink: Netlink) -> Link:
    """The namespace's lo: its group is the mark of the owner."""
    return _link(_lo(netlink))


@cache
def _marked(found: _Located) -> Space:
    """Cached: a thousand nodes have equal ones."""
    return Space([_link(found)], [], [])


class Reader(NamedTuple):
    """A way to read a network namespace."""

    read: Callable[[Netlink], Any]  # plain values, which another process may read and pass on
    space: Callable[[Any], Space]  # made of these values


WHOLE = Reader(_raw, _whole)
UNSTEADY = Reader(_raw_unsteady, _whole)  # the host, parts of which change by themselves
GLANCE = Reader(_glimpse, _unseen)  # only tells whether something changed
LO = Reader(_lo, _marked)  # only tells the owner: its lo
