"""Address: an IP address of a link, and the prefix route that the kernel makes for it (linux/if_addr.h)."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Self

from netfab.objects.base import Dump, Name, Op
from netfab.objects.wire import (
    AF_INET,
    AF_INET6,
    IFADDR,
    MARK,
    NEW,
    RT_SCOPE_LINK,
    RT_SCOPE_UNIVERSE,
    RTM_DELADDR,
    RTM_NEWADDR,
    Body,
    Request,
    Value,
    Words,
    number,
    u8,
    u32,
)
from netfab.tuples import NamedTuple

IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS, IFA_PROTO = 1, 2, 8, 11
WANTED = frozenset({IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS, IFA_PROTO})
IFA_F_NODAD, IFA_F_TENTATIVE, IFA_F_PERMANENT = 0x02, 0x40, 0x80
PREFIX_ROUTE_METRIC6 = 256  # IP6_RT_PRIO_ADDRCONF, net/ip6_route.h


class Address(NamedTuple):
    """An address with its prefix length.

    IPv6 without duplicate detection, which takes 1.7 s and finds only ourselves.
    """

    link: Name
    address: IPv4Address | IPv6Address
    length: int

    @property
    def fixed(self) -> Hashable:
        return ()

    @property
    def after(self) -> tuple[Name, ...]:
        return ()

    @property
    def names(self) -> tuple[Name, ...]:
        return (
            address_name(self.link, self.address, self.length),
            Name(f"route {self.link.space} main", _prefix_route(self.address, self.length)),
        )

    @property
    def needs(self) -> tuple[Name, ...]:
        return (self.link,)

    @property
    def within(self) -> tuple[Name, ...]:
        return (self.link,)

    def create(self) -> list[Op]:
        return [self._request(RTM_NEWADDR, NEW, "give")]

    def update(self, before: Self) -> list[Op]:
        return []

    def delete(self) -> list[Op]:
        return [self._request(RTM_DELADDR, 0, "take")]

    def _request(self, kind: int, flags: int, verb: str) -> Request:
        packed = self.address.packed
        family = AF_INET if self.address.version == 4 else AF_INET6
        on_link = family == AF_INET6 and self.address.is_link_local
        scope = RT_SCOPE_LINK if on_link else RT_SCOPE_UNIVERSE
        attrs: tuple[tuple[int, Value], ...] = (
            (IFA_LOCAL, packed),
            (IFA_ADDRESS, packed),
            (IFA_FLAGS, u32(IFA_F_PERMANENT | IFA_F_NODAD)),
            (IFA_PROTO, u8(MARK)),
        )
        body = Body(IFADDR, (family, self.length, 0, scope, self.link), attrs)
        doing = Words("{} {} {}/{}", (verb, self.link, self.address, self.length))
        return Request(self.link.space, kind, flags, body, doing=doing)

    @classmethod
    def read(cls, dump: Dump) -> Iterator[Self]:
        for space, link, message in _own(dump):
            packed = message.attrs.get(IFA_LOCAL) or message.attrs[IFA_ADDRESS]
            address = IPv4Address(packed) if message.family == AF_INET else IPv6Address(packed)
            yield cls(Name(space, link), address, message.length)

    @classmethod
    def unsettled(cls, dump: Dump) -> Iterator[Name]:
        for space, link, message in _own(dump):
            if message.family == AF_INET6 and number(message.attrs.get(IFA_FLAGS, b"")) & IFA_F_TENTATIVE:
                yield Name(space, link)

    def __str__(self) -> str:
        return f"address {self.address}/{self.length} on {self.link}"


class AddressMessage(NamedTuple):
    """One RTM_NEWADDR of a dump."""

    family: int
    length: int
    ifindex: int
    attrs: dict[int, bytes]  # of WANTED

    @property
    def marked(self) -> bool:
        """Whether netfab added it."""
        return self.attrs.get(IFA_PROTO, b"\0")[0] == MARK


def address_name(link: Name, address: IPv4Address | IPv6Address, length: int) -> Name:
    """The identity of an Address."""
    return Name(f"address {link.space}", f"{_shown(address.packed, length)} {link.text}")


@cache
def _shown(packed: bytes, length: int) -> str:
    return f"{ip_address(packed)}/{length}"


def link_local(mac: str) -> IPv6Address:
    """The IPv6 link-local address of a MAC (RFC 4291, appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    interface = bytes((octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]))
    return IPv6Address(0xFE80 << 112 | int.from_bytes(interface, "big"))


def _prefix_route(address: IPv4Address | IPv6Address, length: int) -> str:
    """The name of the route that the kernel adds for an address."""
    version4 = type(address) is IPv4Address
    bits = (32 if version4 else 128) - length
    return _first_and_metric(version4, int(address) >> bits << bits, length)


@cache
def _first_and_metric(version4: bool, first: int, length: int) -> str:
    """The same for all addresses of a subnet."""
    address, metric = (IPv4Address(first), 0) if version4 else (IPv6Address(first), PREFIX_ROUTE_METRIC6)
    return f"{address}/{length} {metric}"


def _own(dump: Dump) -> Iterator[tuple[str, str, AddressMessage]]:
    for space, found in dump.spaces.items():
        for message in found.addresses:
            if (space, message.ifindex) in dump.owned:
                yield space, dump.links[space, message.ifindex].text, message
