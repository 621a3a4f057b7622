"""What a NIC of the host has, as data: recorded before it is moved, and given back when it comes home.

A move to another namespace takes everything but the link itself: the kernel sets it down, and drops its
addresses, its routes and its IPv4 settings. Settings of IPv6 below /proc/sys are not kept, but for how
link-local addresses are made.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import unpack_from
from typing import Self

from netfab.objects.base import Name, Op
from netfab.objects.kept import Kept, KeptAddress, KeptRoute
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
from netfab.objects.wire import AF_INET, AF_INET6, Value, mac, number, parse, text, u8, u32
from netfab.tuples import NamedTuple

CONF_MC_FORWARDING = 2  # set by a multicast router


class Original(NamedTuple):
    """What a NIC had at home. Its name is kept elsewhere."""

    kind: str  # "" for hardware
    ifindex: int
    mac: str
    mtu: int
    group: int
    up: bool
    alias: str = ""
    conf: tuple[int, ...] = ()  # its IPv4 settings, counted from 1 (linux/ip.h, IPV4_DEVCONF_*)
    generation: int | None = None  # how link-local addresses are generated; None: no IPv6
    addresses: tuple[KeptAddress, ...] = ()
    routes: tuple[KeptRoute, ...] = ()
    accept_ra: bool = False  # whether the host accepts router advertisements there

    @classmethod
    def of(cls, link: Link) -> Self:
        """From a dumped link, without addresses and routes."""
        families = link.attrs.get(AF_SPEC, b"")
        spec = parse(families, 0, len(families))
        inet, inet6 = spec.get(AF_INET, b""), spec.get(AF_INET6, b"")
        conf = parse(inet, 0, len(inet)).get(INET_CONF, b"")
        settings6 = parse(inet6, 0, len(inet6))
        generation = number(settings6[INET6_ADDR_GEN_MODE]) if INET6_CONF in settings6 else None
        alias = text(link.attrs.get(IFALIAS, b""))
        values = unpack_from(f"={len(conf) // 4}I", conf)
        return cls(
            *(link.kind, link.ifindex, link.mac, link.mtu, link.group, link.up, alias, values, generation),
            accept_ra=link.settings.accept_ra,
        )

    def give_back(self, link: Name) -> Iterator[Op]:
        """Restore everything to the link that is home again; the alias last: it marks an incomplete restore.

        Each step may have been done already, by a command that was killed.
        """
        station = ((ADDRESS, mac(self.mac)),) if self.mac else ()
        attrs = (*station, (MTU, u32(self.mtu)), (GROUP, u32(self.group)))
        for these in (attrs, (self._settings(),)):  # an MTU that enables IPv6 comes before IPv6's settings
            yield set_link(link, these, f"give {link} back")._replace(ends=True)
        for address in self.addresses:
            yield address.give(link)._replace(ends=True)
        if self.up:
            yield set_up(link, True, str(link))._replace(ends=True)
        yield from self.give(link)
        unmarked = set_link(link, ((IFALIAS, self.alias),), f"unmark {link}")
        yield unmarked._replace(ends=True, alone=True)

    @property
    def belongings(self) -> tuple[Kept, ...]:
        """The NIC's own addresses and routes."""
        return (*self.addresses, *self.routes)

    def give(self, link: Name) -> Iterator[Op]:
        """Add addresses and routes to the link, which is up."""
        for thing in self.belongings:
            yield thing.give(link)._replace(ends=True)
        for address in self.addresses:
            if address.has_other_flags:
                yield address.settle(link)._replace(ends=True)

    def _settings(self) -> tuple[int, Value]:
        conf = tuple(
            (which, u32(value)) for which, value in enumerate(self.conf, 1) if which != CONF_MC_FORWARDING
        )
        families: tuple[tuple[int, Value], ...] = ((AF_INET, ((INET_CONF, conf),)),) if conf else ()
        if self.generation is not None:
            families = (*families, (AF_INET6, ((INET6_ADDR_GEN_MODE, u8(self.generation)),)))
        return AF_SPEC, families
