"""What a NIC of the host has, as data: recorded before it is moved, and given back when it comes home.

A move to another namespace takes everything but the link itself: the kernel sets it down, and drops its
addresses, its routes and its IPv4 settings. Settings of IPv6 below /proc/sys are not kept, but for how
link-local addresses are made.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from struct import unpack_from
from typing import NamedTuple, Self

from netfab.objects.address import IFA_F_NODAD, IFA_FLAGS
from netfab.objects.base import HOST, Name, Op
from netfab.objects.link import (
    ADDRESS,
    AF_SPEC,
    GROUP,
    IFALIAS,
    INET6_ADDR_GEN_MODE,
    INET6_CONF,
    INET_CONF,
    MTU,
    Link,
    set_link,
    set_up,
)
from netfab.objects.route import RTA_DST, RTA_GATEWAY, RTA_MULTIPATH, RTA_OIF, RTA_PRIORITY
from netfab.objects.wire import (
    AF_INET,
    AF_INET6,
    IFADDR,
    NEW,
    NLM_F_CREATE,
    RTM_NEWADDR,
    RTM_NEWROUTE,
    RTMSG,
    Body,
    Hops,
    Request,
    Value,
    mac,
    number,
    parse,
    parse_hops,
    text,
    u8,
    u32,
)

NLM_F_APPEND = 0x800
IFA_F_TEMPORARY = 0x01  # of IPv6: a privacy address, which the kernel makes and renews by itself
RTPROT_KERNEL = 2  # routes that come with an address or a link
RTNH_F_ONLINK = 4
CONF_MC_FORWARDING = 2  # a multicast router's own
RTA_PREFSRC, RTA_METRICS, RTA_FLOW, RTA_CACHEINFO, RTA_TABLE = 7, 8, 11, 12, 15
RTA_VIA, RTA_PREF, RTA_ENCAP_TYPE, RTA_ENCAP, RTA_EXPIRES = 18, 20, 21, 22, 23
# What a route is asked for by; the rest of a dump is what the kernel tells of it.
_ASKED = {RTA_DST, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_METRICS, RTA_FLOW, RTA_TABLE}
_ASKED |= {RTA_VIA, RTA_PREF, RTA_ENCAP_TYPE, RTA_ENCAP}
_TICKS = 100  # of rta_expires in a second: USER_HZ

_VIAS = {RTA_GATEWAY, RTA_VIA}

Attrs = tuple[tuple[int, str], ...]  # type and value, in hexadecimal
Hopped = tuple[tuple[str, int, Attrs], ...]  # link ("" = the NIC) and weight of each next hop


class Kept(NamedTuple):
    """An address or a route, as the kernel told it."""

    header: tuple[int, ...]  # the fixed fields, less the link's index
    attrs: Attrs
    hops: Hopped = ()  # of a multipath route
    in_front: bool = False  # of others to the same destination


class Original(NamedTuple):
    """A NIC at home. Its name is told elsewhere."""

    kind: str  # "" for hardware
    ifindex: int
    mac: str
    mtu: int
    group: int
    up: bool
    alias: str = ""
    conf: tuple[int, ...] = ()  # its IPv4 settings, counted from 1 (linux/ip.h, IPV4_DEVCONF_*)
    generation: int | None = None  # how link-local addresses are made; None: no IPv6
    addresses: tuple[Kept, ...] = ()
    routes: tuple[Kept, ...] = ()

    @classmethod
    def of(cls, link: Link) -> Self:
        """That of a dumped link, less addresses and routes."""
        families = link.attrs.get(AF_SPEC, b"")
        spec = parse(families, 0, len(families))
        inet, inet6 = spec.get(AF_INET, b""), spec.get(AF_INET6, b"")
        conf = parse(inet, 0, len(inet)).get(INET_CONF, b"")
        settings6 = parse(inet6, 0, len(inet6))
        generation = number(settings6[INET6_ADDR_GEN_MODE]) if INET6_CONF in settings6 else None
        alias = text(link.attrs.get(IFALIAS, b""))
        values = unpack_from(f"={len(conf) // 4}I", conf)
        return cls(
            link.kind, link.ifindex, link.mac, link.mtu, link.group, link.up, alias, values, generation
        )

    def give_back(self, link: Name) -> Iterator[Op]:
        """Everything to the link that is at home again; the alias last: it tells what is not whole.

        Each step may have been taken before, by a command that was killed.
        """
        station = ((ADDRESS, mac(self.mac)),) if self.mac else ()
        attrs = (*station, (MTU, u32(self.mtu)), (GROUP, u32(self.group)))
        for these in (attrs, (self._settings(),)):  # an MTU that gives it IPv6 comes before settings of that
            yield set_link(link, these, f"give {link} back")._replace(ends=True)
        for address in self.addresses:
            yield _address(link, address)
        if self.up:
            yield set_up(link, True, str(link))._replace(ends=True)
        for route in self.routes:
            yield _route(link, route)
        unmarked = set_link(link, ((IFALIAS, self.alias),), f"unmark {link}")
        yield unmarked._replace(ends=True, alone=True)

    def _settings(self) -> tuple[int, Value]:
        conf = tuple(
            (which, u32(value)) for which, value in enumerate(self.conf, 1) if which != CONF_MC_FORWARDING
        )
        families: tuple[tuple[int, Value], ...] = ((AF_INET, ((INET_CONF, conf),)),) if conf else ()
        if self.generation is not None:
            families = (*families, (AF_INET6, ((INET6_ADDR_GEN_MODE, u8(self.generation)),)))
        return AF_SPEC, families


def kept_address(data: bytes, start: int, end: int) -> tuple[int, Kept] | None:
    """(link's index, address) of an RTM_NEWADDR; None for what comes back by itself.

    Of IPv6 without duplicate detection: it was ours a moment ago, and what leaves from it must not wait.
    """
    *header, index = IFADDR.unpack_from(data, start)
    attrs = parse(data, start + IFADDR.size, end)
    if header[0] == AF_INET6:
        flags = number(attrs[IFA_FLAGS])
        if flags & IFA_F_TEMPORARY:
            return None
        attrs[IFA_FLAGS] = u32(flags | IFA_F_NODAD)
    return index, Kept(tuple(header), _hex(attrs))


def kept_routes(
    messages: Iterable[tuple[bytes, int, int]], nic: int, names: Mapping[int, str]
) -> tuple[Kept, ...]:
    """The routes, of a dump of RTM_NEWROUTE, that go when the link of that index does.

    First those that the gateways of others are behind. The kernel drops a multipath route of IPv4 with any of
    its links, of one of IPv6 the link's hops only.
    """
    found: list[Kept] = []
    seen: set[Hashable] = set()
    for data, start, end in messages:
        header = RTMSG.unpack_from(data, start)
        attrs = parse(data, start + RTMSG.size, end)
        hops = tuple(
            ("" if index == nic else names.get(index, "?"), weight, _hex(_asked(hop)))
            for index, weight, hop in parse_hops(attrs.get(RTA_MULTIPATH, b""))
            if index == nic or header[0] == AF_INET
        )
        place = *header[:5], attrs.get(RTA_TABLE), attrs.get(RTA_DST), attrs.get(RTA_PRIORITY)
        through = number(attrs.get(RTA_OIF, b"")) == nic or any(not link for link, _, _ in hops)
        if through and header[5] != RTPROT_KERNEL:
            found.append(_route_of(header, attrs, hops, header[0] == AF_INET and place not in seen))
        seen.add(place)
    return tuple(sorted(found, key=lambda route: bool(route.hops or _VIAS & dict(route.attrs).keys())))


def _route_of(header: tuple[int, ...], attrs: Mapping[int, bytes], hops: Hopped, in_front: bool) -> Kept:
    *fields, flags = header
    asked = _asked(attrs)
    if (expires := _expires(attrs)) > 0:
        asked[RTA_EXPIRES] = u32(expires)
    return Kept((*fields, flags & RTNH_F_ONLINK), _hex(asked), hops, in_front)


def _asked(attrs: Mapping[int, bytes]) -> dict[int, bytes]:
    return {kind: value for kind, value in attrs.items() if kind in _ASKED}


def _expires(attrs: Mapping[int, bytes]) -> int:
    """Seconds that a route has left, as one that a router advertised; 0: it stays."""
    info = attrs.get(RTA_CACHEINFO, b"")
    return int(unpack_from("=i", info, 8)[0]) // _TICKS if len(info) >= 12 else 0


def _hex(attrs: Mapping[int, bytes]) -> Attrs:
    return tuple((kind, value.hex()) for kind, value in attrs.items())


def _bytes(attrs: Attrs) -> tuple[tuple[int, Value], ...]:
    return tuple((kind, bytes.fromhex(value)) for kind, value in attrs)


def _address(link: Name, kept: Kept) -> Request:
    body = Body(IFADDR, (*kept.header, link), _bytes(kept.attrs))
    doing = f"give {link} its address back"
    return Request(link.space, RTM_NEWADDR, NEW, body, doing=doing, ends=True, there=True)


def _route(link: Name, kept: Kept) -> Request:
    # Before or behind others to the same destination, as it was. Without EXCL only the very same route is
    # refused (EEXIST).
    way: tuple[int, Value] = (RTA_OIF, link)
    if kept.hops:
        hops = (
            (Name(HOST, name) if name else link, weight, _bytes(attrs)) for name, weight, attrs in kept.hops
        )
        way = RTA_MULTIPATH, Hops(tuple(hops))
    body = Body(RTMSG, kept.header, (*_bytes(kept.attrs), way))
    flags = NLM_F_CREATE if kept.in_front else NLM_F_CREATE | NLM_F_APPEND
    doing = f"give {link} its route back"
    return Request(link.space, RTM_NEWROUTE, flags, body, doing=doing, ends=True, there=True)
