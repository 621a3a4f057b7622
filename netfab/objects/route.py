"""Route: a destination and its next hops, in the main table (rtnetlink(7), linux/rtnetlink.h)."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Self

from netfab.objects.address import Address, address_name
from netfab.objects.base import HOST, Dump, Name, Op, namespace_of, node_of
from netfab.objects.difference import fields
from netfab.objects.wire import (
    AF_INET,
    AF_INET6,
    MARK,
    NEW,
    NLM_F_CREATE,
    NLM_F_REPLACE,
    RT_SCOPE_LINK,
    RT_SCOPE_UNIVERSE,
    RTM_DELROUTE,
    RTM_NEWROUTE,
    RTMSG,
    Body,
    Hops,
    Request,
    Value,
    Words,
    number,
    parse_hops,
    u32,
)
from netfab.tuples import NamedTuple

RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_MULTIPATH = 1, 4, 5, 6, 9
TABLE_MAIN = 254
UNICAST, BLACKHOLE, UNREACHABLE, PROHIBIT = 1, 6, 7, 8  # RTN_*
KINDS = {"unicast": UNICAST, "blackhole": BLACKHOLE, "unreachable": UNREACHABLE, "prohibit": PROHIBIT}
KIND_NAMES = {number: name for name, number in KINDS.items()}
DEFAULT_METRIC6 = 1024  # IP6_RT_PRIO_USER, net/ip6_route.h

AnyAddress = IPv4Address | IPv6Address
AnyNetwork = IPv4Network | IPv6Network


class Hop(NamedTuple):
    """A next hop: address (None: the destination is on the link), link, and weight among several."""

    via: AnyAddress | None
    link: Name
    weight: int = 1

    def __str__(self) -> str:
        via = f"via {self.via} " if self.via else ""
        return f"{via}dev {self.link.text}{f' weight {self.weight}' if self.weight > 1 else ''}"


class Route(NamedTuple):
    """A route; several hops, sorted, are one multipath route.

    `through` are the addresses whose prefixes hold its hops. With an address, the routes through it vanish
    silently; so a route is replaced when one of these is.
    """

    space: str
    destination: AnyNetwork
    hops: tuple[Hop, ...]
    metric: int
    through: tuple[Name, ...] = ()
    kind: str = "unicast"
    in_front: bool = False  # of a guest's own routes to the same destination; these apply again after it

    @property
    def after(self) -> tuple[Name, ...]:
        """The routes to hops that are on no address's prefix, if there are any."""
        if self.through:
            return ()
        return tuple(
            Name(f"route {self.space} main", f"{hop.via}/{hop.via.max_prefixlen} {self.metric}")
            for hop in self.hops
            if hop.via is not None
        )

    @property
    def fixed(self) -> Hashable:
        return self.through, self.hops if self.in_front else ()

    @property
    def names(self) -> tuple[Name, ...]:
        return (Name(f"route {self.space} main", _to(self.destination, self.metric)),)

    @property
    def needs(self) -> tuple[Name, ...]:
        return (tuple(hop.link for hop in self.hops) or namespace_of(self.space)) + self.through

    @property
    def within(self) -> tuple[Name, ...]:
        return tuple(hop.link for hop in self.hops) or namespace_of(self.space)

    def create(self) -> list[Op]:
        # Without EXCL the kernel puts it before the guest's own (ip-route(8): prepend).
        return [self._request(RTM_NEWROUTE, NLM_F_CREATE if self.in_front else NEW, "create")]

    def update(self, before: Self) -> list[Op]:
        # Never REPLACE in create: it would silently replace the kernel's own prefix route.
        return [self._request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, "update")]

    def delete(self) -> list[Op]:
        return [self._request(RTM_DELROUTE, 0, "delete")]

    def _request(self, message: int, flags: int, verb: str) -> Request:
        destination = self.destination
        family = AF_INET if destination.version == 4 else AF_INET6
        attrs: list[tuple[int, Value]] = []
        if destination.prefixlen:
            attrs.append((RTA_DST, destination.network_address.packed))
        if self.metric:
            attrs.append((RTA_PRIORITY, u32(self.metric)))
        if len(self.hops) == 1:
            attrs += [*_via(self.hops[0]), (RTA_OIF, self.hops[0].link)]
        elif self.hops:
            attrs.append((RTA_MULTIPATH, Hops(tuple((hop.link, hop.weight, _via(hop)) for hop in self.hops))))
        on_link = family == AF_INET and any(hop.via is None for hop in self.hops)
        scope = RT_SCOPE_LINK if on_link else RT_SCOPE_UNIVERSE
        fields = (family, destination.prefixlen, 0, 0, TABLE_MAIN, MARK, scope, KINDS[self.kind], 0)
        return Request(
            self.space, message, flags, Body(RTMSG, fields, tuple(attrs)), doing=Words("{} {}", (verb, self))
        )

    @classmethod
    def read(cls, dump: Dump) -> Iterator[Self]:
        addresses: dict[Name, list[Address]] = {}
        for address in Address.read(dump):
            addresses.setdefault(address.link, []).append(address)
        for space, found in dump.spaces.items():
            for message in found.routes:
                if message.protocol == MARK and message.table == TABLE_MAIN and _ours(message, space, dump):
                    hops = tuple(sorted(_hops(message, space, dump)))
                    destination = _network(message.family, message.attrs.get(RTA_DST, b""), message.length)
                    metric = number(message.attrs.get(RTA_PRIORITY, b""))
                    kind = KIND_NAMES.get(message.kind, "unicast")
                    yield cls(
                        space,
                        destination,
                        hops,
                        metric,
                        through(hops, addresses),
                        kind,
                        space in dump.guests,
                    )

    @classmethod
    def unsettled(cls, dump: Dump) -> Iterator[Name]:
        return iter(())

    def differs_from(self, before: Self) -> Iterator[str]:
        """The differences, for people."""
        told = list(fields(before._replace(through=self.through), self, {"hops": "", "kind": ""}))
        yield from told or ["the address that it goes by"]

    def __str__(self) -> str:
        where = "" if self.space == HOST else f" in {node_of(self.space)}"
        ways = ", ".join(map(str, self.hops))
        return f"route {_shown(self.destination)} {ways or self.kind}{where}"


class RouteMessage(NamedTuple):
    """One RTM_NEWROUTE of a dump."""

    family: int
    length: int
    table: int
    protocol: int
    kind: int
    attrs: dict[int, bytes]


def through(hops: Iterable[Hop], addresses: dict[Name, list[Address]]) -> tuple[Name, ...]:
    """For each hop, the lowest address whose prefix holds it; for a hop without `via`, of all on the link."""
    found = set()
    for hop in hops:
        fitting = [
            address
            for address in addresses.get(hop.link, ())
            if hop.via is None or (hop.via.version == address.address.version and _within(hop.via, address))
        ]
        if fitting:
            lowest = fitting[0]  # nearly always the only one
            if len(fitting) > 1:
                lowest = min(
                    fitting, key=lambda address: (address.address.version, address.address, address.length)
                )
            found.add(address_name(hop.link, lowest.address, lowest.length))
    return tuple(sorted(found))


def _within(via: AnyAddress, address: Address) -> bool:
    shift = address.address.max_prefixlen - address.length
    return int(via) >> shift == int(address.address) >> shift


def _via(hop: Hop) -> tuple[tuple[int, Value], ...]:
    return () if hop.via is None else ((RTA_GATEWAY, hop.via.packed),)


def _hops(message: RouteMessage, space: str, dump: Dump) -> Iterator[Hop]:
    attrs = message.attrs
    if RTA_MULTIPATH in attrs:
        for index, weight, hop in parse_hops(attrs[RTA_MULTIPATH]):
            yield Hop(_address(hop.get(RTA_GATEWAY)), dump.links[space, index], weight)
    elif RTA_OIF in attrs and message.kind == UNICAST:
        yield Hop(_address(attrs.get(RTA_GATEWAY)), dump.links[space, number(attrs[RTA_OIF])])


def _ours(message: RouteMessage, space: str, dump: Dump) -> bool:
    """On the host, other fabrics' routes carry the same protocol; ours go through our own links."""
    devices = [number(message.attrs[RTA_OIF])] if RTA_OIF in message.attrs else []
    if RTA_MULTIPATH in message.attrs:
        devices += [index for index, _, _ in parse_hops(message.attrs[RTA_MULTIPATH])]
    return all((space, device) in dump.owned for device in devices) and (space != HOST or bool(devices))


@cache
def _address(packed: bytes | None) -> AnyAddress | None:
    if packed is None:
        return None
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)


@cache
def _network(family: int, packed: bytes, length: int) -> AnyNetwork:
    if family == AF_INET:
        return IPv4Network((packed or bytes(4), length))
    return IPv6Network((packed or bytes(16), length))


@cache
def _to(destination: AnyNetwork, metric: int) -> str:
    """The same for all routes to that destination."""
    return f"{destination} {metric}"


def _shown(destination: AnyNetwork) -> str:
    return str(destination) if destination.prefixlen else "default"
