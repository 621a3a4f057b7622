"""What all links share: their marks, settings and messages (linux/if_link.h, rtnetlink(7)).

Ownership is IFLA_GROUP, which the creating message itself sets; the alias is a label for people, set
afterwards because RTM_NEWLINK ignores it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Self

from netfab.objects.address import Address, link_local
from netfab.objects.base import Dump, Name, Op, Space
from netfab.objects.difference import fields
from netfab.objects.digest import digest
from netfab.objects.wire import (
    AF_INET,
    AF_INET6,
    IFF_UP,
    IFINFO,
    RTM_NEWLINK,
    Body,
    Request,
    Value,
    Words,
    attributes,
    inside,
    no_name,
    number,
    parse,
    text,
    u8,
    u32,
)
from netfab.tuples import NamedTuple

ADDRESS, IFNAME, MTU, LINK, MASTER = 1, 3, 4, 5, 10
OPERSTATE, LINKINFO, IFALIAS, AF_SPEC, GROUP, NET_NS_FD = 16, 18, 20, 26, 27, 28
NUM_TX_QUEUES, NUM_RX_QUEUES = 31, 32
INFO_KIND, INFO_DATA, INFO_SLAVE_KIND, INFO_SLAVE_DATA = 1, 2, 4, 5
BRPORT_STATE, BRPORT_HAIRPIN, BRPORT_LEARNING = 1, 4, 8  # IFLA_BRPORT_MODE is hairpin mode
BRPORT_NEIGH_SUPPRESS, BRPORT_ISOLATED = 32, 33
INET_CONF = 1  # IFLA_INET_CONF
INET6_CONF, INET6_ADDR_GEN_MODE = 2, 8
CONF_FORWARDING, CONF_RP_FILTER, CONF_PROMOTE_SECONDARIES = 1, 8, 20  # linux/ip.h, IPV4_DEVCONF_*
CONF_ROUTE_LOCALNET = 26
CONF6_ACCEPT_RA, CONF6_ACCEPT_REDIRECTS, CONF6_FORCE_FORWARDING = (
    3,
    4,
    59,
)  # linux/ipv6.h, DEVCONF_*, counted from 0
ADDR_GEN_NONE = 1
OPERSTATE_UP = 6  # RFC 2863
_KIND, DATA = inside(LINKINFO, INFO_KIND), inside(LINKINFO, INFO_DATA)
_SLAVE_KIND = inside(LINKINFO, INFO_SLAVE_KIND)
_CONF, _CONF6 = inside(AF_SPEC, AF_INET, INET_CONF), inside(AF_SPEC, AF_INET6, INET6_CONF)


def in_port(which: int) -> int:
    """Where in a link its IFLA_BRPORT_* attribute is, as a bridge's port."""
    return inside(LINKINFO, INFO_SLAVE_DATA, which)


_OF_PORTS = (BRPORT_STATE, BRPORT_HAIRPIN, BRPORT_LEARNING, BRPORT_NEIGH_SUPPRESS, BRPORT_ISOLATED)
WANTED = frozenset(
    {ADDRESS, IFNAME, MTU, LINK, MASTER, OPERSTATE, IFALIAS, GROUP}
    | {_KIND, DATA, _SLAVE_KIND, _CONF, _CONF6, *map(in_port, _OF_PORTS)}
)
WANTED_OF_LO = frozenset({IFNAME, GROUP})
LOOPBACK_IFINDEX = 1  # net/flow.h

MOVED = "netfab:nic "  # prefix of the alias of a moved NIC
_FABRICS = 0x6E  # 'n': the highest byte of every group of ours
_SCRATCH = 1 << 23


@cache
def group_of(fabric: str) -> int:
    """The link group that marks what that fabric created: 'n' and 23 bits of a hash of its name."""
    return _FABRICS << 24 | int.from_bytes(digest(fabric.encode())[:4], "big") & 0x7FFFFF


def wanted_of(ifindex: int) -> frozenset[int]:
    """The attributes to read of a link."""
    return WANTED if ifindex != LOOPBACK_IFINDEX else WANTED_OF_LO


def scratch_of(group: int) -> int:
    """The group into which links are moved to be deleted together; it counts as the fabric's, too."""
    return group | _SCRATCH


class Link(NamedTuple):
    """One RTM_NEWLINK of a dump, without attributes that nobody uses.

    A link has forty attributes, and hosts have many links: common values are stored once.
    """

    ifindex: int
    flags: int
    name: str
    group: int
    kind: str  # bridge, veth ...; "" for hardware
    settings: Settings
    attrs: dict[int, bytes]  # what else is of WANTED; of a lo of WANTED_OF_LO

    @classmethod
    def parse(cls, ifindex: int, flags: int, data: bytes, start: int, end: int) -> Link:
        """From the attributes in data[start:end]."""
        return cls.of(ifindex, flags, parse(data, start, end, wanted_of(ifindex)))

    @classmethod
    def of(cls, ifindex: int, flags: int, attrs: dict[int, bytes]) -> Self:
        """A link from its wanted attributes."""
        group, kind = number(attrs.get(GROUP, b"")), text(attrs.pop(_KIND, b""))
        has_ipv6 = _CONF6 in attrs
        settings = _settings(attrs.pop(_CONF, b""), attrs.pop(_CONF6, b""), has_ipv6)
        return cls(ifindex, flags, text(attrs.pop(IFNAME)), group, kind, settings, attrs)

    @property
    def up(self) -> bool:
        """Administratively up; says nothing of a carrier."""
        return bool(self.flags & IFF_UP)

    @property
    def mtu(self) -> int:
        """In bytes."""
        return number(self.attrs[MTU])

    @property
    def mac(self) -> str:
        """aa:bb:cc:dd:ee:ff; "" for a link without one."""
        return self.attrs.get(ADDRESS, b"").hex(":")

    @property
    def slave_kind(self) -> str:
        """What it is a port of: bridge, bond ...; "" for none."""
        return text(self.attrs.get(_SLAVE_KIND, b""))

    def info_data(self) -> dict[int, bytes]:
        """Attributes of IFLA_INFO_DATA."""
        data = self.attrs.get(DATA, b"")
        return parse(data, 0, len(data))


class Settings(NamedTuple):
    """A link's own sysctls. Those of IPv4 are set and read by netlink, not /proc/sys."""

    forwarding: bool = False  # IPv4
    rp_filter: int = 0
    promote_secondaries: bool = True  # without it, deleting an address drops every route of the link
    accept_ra: bool = False
    route_localnet: bool = False  # packets from 127.0.0.1 may leave here: ports published on loopback
    forwarding6: bool = False  # conf.X.force_forwarding, of kernels since 6.17
    accept_redirects: bool = False  # IPv6; known only of a link that accepts no router advertisements
    ipv6: bool = True  # whether it has IPv6: not below an MTU of 1280, nor if the kernel lacks it

    def without_ipv6(self) -> Self:
        """These settings on a link that has no IPv6."""
        return self._replace(accept_ra=False, forwarding6=False, accept_redirects=False, ipv6=False)

    def differs_from(self, before: Self) -> Iterator[str]:
        """The differences, for people, who know the sysctls by these names."""
        return fields(before, self, {"forwarding6": "IPv6 forwarding"})


@cache
def _settings(conf: bytes, conf6: bytes, has_ipv6: bool) -> Settings:
    """From IFLA_INET_CONF, an array of s32 counted from 1, and IFLA_INET6_CONF.

    Cached: most links of a host have the same.
    """

    def ipv4(which: int) -> int:
        return number(conf[4 * which - 4 : 4 * which])

    def ipv6(which: int) -> bool:
        return bool(number(conf6[4 * which : 4 * which + 4]))  # past the end on a kernel without it: False

    return Settings(
        forwarding=bool(ipv4(CONF_FORWARDING)),
        rp_filter=ipv4(CONF_RP_FILTER),
        promote_secondaries=bool(ipv4(CONF_PROMOTE_SECONDARIES)),
        accept_ra=ipv6(CONF6_ACCEPT_RA),
        route_localnet=bool(ipv4(CONF_ROUTE_LOCALNET)),
        forwarding6=ipv6(CONF6_FORCE_FORWARDING),
        accept_redirects=ipv6(CONF6_ACCEPT_REDIRECTS) and not ipv6(CONF6_ACCEPT_RA),
        ipv6=has_ipv6,
    )


@cache
def groups_of(fabric: str) -> tuple[int, int]:
    """The link groups that mark what that fabric created."""
    return group_of(fabric), scratch_of(group_of(fabric))


def owned(link: Link, fabric: str) -> bool:
    """Whether that fabric created it."""
    return link.group in groups_of(fabric)


def of_a_fabric(link: Link) -> bool:
    """Whether some fabric created it."""
    return link.group >> 24 == _FABRICS


def related(link: Link, fabric: str) -> bool:
    """Whether it may be an end of that fabric's veth: with its mark, or netfab's label and no mark."""
    return owned(link, fabric) or (
        not of_a_fabric(link) and link.attrs.get(IFALIAS, b"").startswith(b"netfab:")
    )


def moved_mark(fabric: str, name: str = "") -> str:
    """The alias of a NIC of the host, of that name there, that the fabric moved (objects/nic.py)."""
    return f"{MOVED}{fabric} {name}"


def is_moved_by(link: Link, fabric: str) -> bool:
    """Whether it is a NIC of the host that the fabric moved, or lent to a bridge."""
    return text(link.attrs.get(IFALIAS, b"")).startswith(moved_mark(fabric))


def set_link(link: Name, attrs: tuple[tuple[int, Value], ...], doing: str | Words) -> Request:
    """Change attributes of an existing link."""
    return Request(link.space, RTM_NEWLINK, 0, Body(IFINFO, (0, 0, link, 0, 0), attrs), doing=doing)


def set_up(link: Name, up: bool, what: object) -> Request:
    """Administratively up or down, alone: in a message with settings the kernel would change flags first."""
    body = Body(IFINFO, (0, 0, link, IFF_UP if up else 0, IFF_UP), ())
    return Request(
        link.space, RTM_NEWLINK, 0, body, doing=Words("set {} up" if up else "set {} down", (what,))
    )


@cache
def settings_attr(settings: Settings) -> tuple[int, Value]:
    """IFLA_AF_SPEC with all that netlink can set.

    Refused in a creating message, and if it sets IPv6 while the link has none (EAFNOSUPPORT): an MTU
    that enables IPv6 is set in an earlier message.
    """
    ipv4 = (
        (CONF_FORWARDING, u32(settings.forwarding)),
        (CONF_RP_FILTER, u32(settings.rp_filter)),
        (CONF_PROMOTE_SECONDARIES, u32(settings.promote_secondaries)),
        (CONF_ROUTE_LOCALNET, u32(settings.route_localnet)),
    )
    # We add link-local addresses, without duplicate detection, if a network has IPv6 at all.
    ipv6 = ((INET6_ADDR_GEN_MODE, u8(ADDR_GEN_NONE)),)
    inet: tuple[int, Value] = (AF_INET, ((INET_CONF, ipv4),))
    spec = (inet, (AF_INET6, ipv6)) if settings.ipv6 else (inet,)
    return AF_SPEC, attributes(spec, no_name)  # as bytes: most links have the same


def gained_ipv6(link: Name, mac: str) -> list[Op]:
    """Remove the link-local address that the kernel adds to a link that is up when it gets IPv6."""
    return Address(link, link_local(mac), 64).delete() if mac else []


def own_links(dump: Dump) -> Sequence[tuple[str, Link]]:
    """(space, link) of every link that the fabric created, lo excepted."""
    return dump.marked


def marked_links(fabric: str, spaces: Mapping[str, Space]) -> list[tuple[str, Link]]:
    """Finds what own_links returns: not links that were only moved."""
    groups = groups_of(fabric)
    moved = moved_mark(fabric).encode()
    return [
        (space, link)
        for space, found in spaces.items()
        for link in found.links
        if link.group in groups
        and link.ifindex != LOOPBACK_IFINDEX
        and not link.attrs.get(IFALIAS, b"").startswith(moved)
    ]


def unmarked_links(dump: Dump) -> Iterator[tuple[str, Link]]:
    """(space, link) of every link that netfab labelled and that no longer carries a fabric's mark."""
    netfabs = group_of(dump.fabric) >> 24
    for space, found in dump.spaces.items():
        for link in found.links:
            if link.group >> 24 != netfabs and link.attrs.get(IFALIAS, b"").startswith(b"netfab:"):
                yield space, link
