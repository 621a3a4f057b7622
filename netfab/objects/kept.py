"""Addresses and routes that somebody else gave a link, as the kernel reported them: to restore or move them.

Whatever the kernel does not create by itself is kept with all its attributes: labels, peers, metrics, tables,
next hops. Pure; the messages come from kernel/.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from ipaddress import ip_address, ip_network
from struct import unpack_from
from typing import Self

from netfab.objects.address import IFA_ADDRESS, IFA_F_NODAD, IFA_F_PERMANENT, IFA_FLAGS, IFA_LOCAL, IFA_PROTO
from netfab.objects.base import HOST, Name
from netfab.objects.route import RTA_DST, RTA_GATEWAY, RTA_MULTIPATH, RTA_OIF, RTA_PRIORITY, UNICAST
from netfab.objects.wire import (
    AF_INET,
    AF_INET6,
    IFADDR,
    MARK,
    NEW,
    NLM_F_CREATE,
    NLM_F_REPLACE,
    RT_SCOPE_LINK,
    RTM_DELADDR,
    RTM_DELROUTE,
    RTM_NEWADDR,
    RTM_NEWROUTE,
    RTMSG,
    Body,
    Hops,
    Request,
    Value,
    number,
    parse,
    parse_hops,
    text,
    u32,
)
from netfab.tuples import NamedTuple

NLM_F_APPEND = 0x800
IFA_LABEL, IFA_CACHEINFO = 3, 6
IFA_F_TEMPORARY = 0x01  # of IPv6: a privacy address, which the kernel creates and renews
IFA_F_NOPREFIXROUTE = 0x200  # whoever added the address also added the route to its prefix
RTPROT_KERNEL, RTPROT_RA = 2, 9  # routes that come with an address or link; advertised ones
RTNH_F_ONLINK = 4
RTA_SRC, RTA_PREFSRC, RTA_METRICS, RTA_FLOW, RTA_CACHEINFO, RTA_TABLE = 2, 7, 8, 11, 12, 15
RTA_VIA, RTA_PREF, RTA_ENCAP_TYPE, RTA_ENCAP, RTA_EXPIRES = 18, 20, 21, 22, 23
# Attributes of a request for a route; the others in a dump are information by the kernel.
_ASKED = {RTA_DST, RTA_SRC, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_METRICS, RTA_FLOW, RTA_TABLE}
_ASKED |= {RTA_VIA, RTA_PREF, RTA_ENCAP_TYPE, RTA_ENCAP}
_MAIN = 254  # RT_TABLE_MAIN
_TICKS = 100  # of rta_expires in a second: USER_HZ
_IFNAMSIZ = 15

_VIAS = {RTA_GATEWAY, RTA_VIA}

Attrs = tuple[tuple[int, str], ...]  # type and value, in hexadecimal
Hopped = tuple[tuple[str, int, Attrs], ...]  # link ("" = the one in question) and weight of each next hop
_Prefix = tuple[int, bytes, int]  # family, its first bytes, length


class KeptAddress(NamedTuple):
    """An address, as the kernel dumped it."""

    header: tuple[int, ...]  # the fixed fields, without the link's ifindex
    attrs: Attrs

    @property
    def identity(self) -> Hashable:
        """The key that is unique on a link."""
        found = dict(self.attrs)
        return self.header[:2], found.get(IFA_LOCAL, found.get(IFA_ADDRESS)), found.get(IFA_ADDRESS)

    @property
    def lapses(self) -> bool:
        """Whether it expires, unless somebody renews it."""
        return not number(bytes.fromhex(dict(self.attrs).get(IFA_FLAGS, ""))) & IFA_F_PERMANENT

    @property
    def is_ours(self) -> bool:
        """Whether netfab added it."""
        return dict(self.attrs).get(IFA_PROTO) == bytes((MARK,)).hex()

    def on(self, link: str, home: str) -> Self:
        """The address for another link: a label begins with the name of its link."""
        attrs = dict(self.attrs)
        label = text(bytes.fromhex(attrs.pop(IFA_LABEL, "")))
        moved = f"{link}{label.removeprefix(home)}" if label.startswith(home) else label
        if label not in ("", home) and len(moved) <= _IFNAMSIZ:
            attrs[IFA_LABEL] = (moved.encode() + b"\0").hex()
        return self._replace(attrs=tuple(attrs.items()))

    @property
    def comes_with_carrier(self) -> bool:
        """Whether the kernel adds it whenever the link gets a carrier."""
        return self.header[3] == RT_SCOPE_LINK

    @property
    def _given(self) -> Attrs:
        """IPv6 without duplicate detection: an address that was ours a moment ago must be usable at once."""
        if self.header[0] != AF_INET6:
            return self.attrs
        flags = number(bytes.fromhex(dict(self.attrs)[IFA_FLAGS])) | IFA_F_NODAD
        return tuple({**dict(self.attrs), IFA_FLAGS: u32(flags).hex()}.items())

    @property
    def has_other_flags(self) -> bool:
        """Whether it is added with other flags than it had."""
        return self._given != self.attrs

    def settle(self, link: Name) -> Request:
        """Set the original flags of an address that was added."""
        doing = f"settle the {self} of {link}"
        body = self._body(link, self.attrs)
        return Request(link.space, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, body, doing=doing)

    def give(self, link: Name) -> Request:
        """Add it to that link."""
        doing = f"give {link} the {self}"
        return Request(link.space, RTM_NEWADDR, NEW, self._body(link, self._given), doing=doing, there=True)

    def take(self, link: Name) -> Request:
        """Delete it from that link."""
        which = tuple(pair for pair in self.attrs if pair[0] in (IFA_LOCAL, IFA_ADDRESS))
        doing = f"take the {self} from {link}"
        return Request(link.space, RTM_DELADDR, 0, self._body(link, which), doing=doing)

    def _body(self, link: Name, attrs: Attrs) -> Body:
        return Body(IFADDR, (*self.header, link), _bytes(attrs))

    def __str__(self) -> str:
        found = dict(self.attrs)
        address = ip_address(bytes.fromhex(found.get(IFA_LOCAL) or found[IFA_ADDRESS]))
        return f"address {address}/{self.header[1]}"


class KeptRoute(NamedTuple):
    """A route, as the kernel dumped it."""

    header: tuple[int, ...]  # the fixed fields
    attrs: Attrs
    hops: Hopped = ()  # of a multipath route
    in_front: bool = False  # of other routes to the same destination

    @property
    def identity(self) -> Hashable:
        """The key that is unique on a link."""
        return self.header, frozenset(self.attrs), frozenset(self.hops)

    @property
    def lapses(self) -> bool:
        """Whether it expires, unless somebody renews it."""
        return RTA_EXPIRES in dict(self.attrs) or self.header[5] == RTPROT_RA

    @property
    def comes_with_carrier(self) -> bool:
        """Whether the kernel adds it whenever the link gets a carrier."""
        return False

    @property
    def is_ours(self) -> bool:
        """Whether netfab added it."""
        return self.header[5] == MARK

    def give(self, link: Name) -> Request:
        """Add it to that link, before or behind others to the same destination, as it was."""
        # Without EXCL only an identical route is refused (EEXIST).
        flags = NLM_F_CREATE if self.in_front else NLM_F_CREATE | NLM_F_APPEND
        doing = f"give {link} the {self}"
        return Request(link.space, RTM_NEWROUTE, flags, self._body(link), doing=doing, there=True)

    def take(self, link: Name) -> Request:
        """Delete it from that link."""
        return Request(link.space, RTM_DELROUTE, 0, self._body(link), doing=f"take the {self} from {link}")

    def _body(self, link: Name) -> Body:
        way: tuple[int, Value] = (RTA_OIF, link)
        if self.hops:
            hops = (
                (Name(HOST, name) if name else link, weight, _bytes(attrs))
                for name, weight, attrs in self.hops
            )
            way = RTA_MULTIPATH, Hops(tuple(hops))
        return Body(RTMSG, self.header, (*_bytes(self.attrs), way))

    def __str__(self) -> str:
        found = {kind: bytes.fromhex(value) for kind, value in self.attrs}
        to = f"{ip_address(found[RTA_DST])}/{self.header[1]}" if RTA_DST in found else "default"
        via = f" via {ip_address(found[RTA_GATEWAY])}" if RTA_GATEWAY in found else ""
        table = number(found.get(RTA_TABLE, b"")) or self.header[4]
        return f"route {to}{via}{'' if table == _MAIN else f' table {table}'}"


Kept = KeptAddress | KeptRoute


def kept_address(data: bytes, start: int, end: int) -> tuple[int, KeptAddress] | None:
    """(ifindex, address) of an RTM_NEWADDR; None for one that comes back by itself."""
    *header, index = IFADDR.unpack_from(data, start)
    attrs = parse(data, start + IFADDR.size, end)
    if header[0] == AF_INET6 and number(attrs[IFA_FLAGS]) & IFA_F_TEMPORARY:
        return None
    return index, KeptAddress(tuple(header), _hex(attrs))


def kept_routes(
    messages: Iterable[tuple[bytes, int, int]],
    nic: int,
    names: Mapping[int, str],
    addresses: Iterable[KeptAddress],
) -> tuple[KeptRoute, ...]:
    """Those routes of an RTM_NEWROUTE dump that vanish with the link of that ifindex and these addresses.

    First those through which others' gateways are reached. The kernel drops an IPv4 multipath route with any
    of its links; of an IPv6 one, only the link's hops.
    """
    found: list[KeptRoute] = []
    seen: set[Hashable] = set()
    given = set(_given_prefixes(addresses))
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
        if through and not _comes_by_itself(header, attrs, given):
            found.append(_route_of(header, attrs, hops, header[0] == AF_INET and place not in seen))
        seen.add(place)
    return tuple(sorted(found, key=lambda route: bool(route.hops or _VIAS & dict(route.attrs).keys())))


def _given_prefixes(addresses: Iterable[KeptAddress]) -> Iterator[_Prefix]:
    """Prefixes for which the kernel was told to add no route: NetworkManager adds it, as the kernel's."""
    for address in addresses:
        found = dict(address.attrs)
        if number(bytes.fromhex(found.get(IFA_FLAGS, ""))) & IFA_F_NOPREFIXROUTE:
            family, length, *_ = address.header
            packed = bytes.fromhex(found[IFA_ADDRESS])
            yield family, ip_network((packed, length), strict=False).network_address.packed, length


def _comes_by_itself(header: tuple[int, ...], attrs: Mapping[int, bytes], given: Collection[_Prefix]) -> bool:
    family, length, _, _, table, protocol, _, kind, _ = header
    if protocol != RTPROT_KERNEL:
        return False
    return not (kind == UNICAST and table == _MAIN and (family, attrs.get(RTA_DST), length) in given)


def _route_of(header: tuple[int, ...], attrs: Mapping[int, bytes], hops: Hopped, in_front: bool) -> KeptRoute:
    *fields, flags = header
    asked = _asked(attrs)
    if (expires := _expires(attrs)) > 0:
        asked[RTA_EXPIRES] = u32(expires)
    return KeptRoute((*fields, flags & RTNH_F_ONLINK), _hex(asked), hops, in_front)


def _asked(attrs: Mapping[int, bytes]) -> dict[int, bytes]:
    return {kind: value for kind, value in attrs.items() if kind in _ASKED}


def _expires(attrs: Mapping[int, bytes]) -> int:
    """Seconds until a route expires, as an advertised one does; 0: never."""
    info = attrs.get(RTA_CACHEINFO, b"")
    return int(unpack_from("=i", info, 8)[0]) // _TICKS if len(info) >= 12 else 0


def _hex(attrs: Mapping[int, bytes]) -> Attrs:
    return tuple((kind, value.hex()) for kind, value in attrs.items())


def _bytes(attrs: Attrs) -> tuple[tuple[int, Value], ...]:
    return tuple((kind, bytes.fromhex(value)) for kind, value in attrs)
