"""Bridge: a learning switch on the host (linux/if_link.h, IFLA_BR_*)."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Self

from netfab.objects.base import Dump, Name, Op, namespace_of
from netfab.objects.difference import UP, Words, fields
from netfab.objects.link import (
    ADDRESS,
    GROUP,
    IFALIAS,
    IFNAME,
    INFO_DATA,
    INFO_KIND,
    LINKINFO,
    MTU,
    Settings,
    gained_ipv6,
    own_links,
    set_link,
    set_up,
    settings_attr,
)
from netfab.objects.ops import DelLink, WriteSysctl
from netfab.objects.wire import IFINFO, NEW, RTM_NEWLINK, Body, Request, Value, mac, number, u8, u32
from netfab.tuples import NamedTuple

FORWARD_DELAY, STP_STATE, MCAST_SNOOPING = 1, 5, 23
_WORDS: Words = {
    "mac": "MAC",
    "group": "mark",
    "up": UP,
    "forward_delay": "forward delay",
    "stp": "spanning tree",
    "snooping": "multicast snooping",
}


class Bridge(NamedTuple):
    """A bridge without spanning tree.

    Its MAC is always set explicitly: else a port with a lower one changes it.
    """

    link: Name
    mac: str
    mtu: int
    group: int
    up: bool = True
    forward_delay: int = 0  # hundredths of a second
    stp: bool = False
    snooping: bool = False
    settings: Settings = Settings()

    @property
    def needs(self) -> tuple[Name, ...]:
        return ()

    @property
    def after(self) -> tuple[Name, ...]:
        return ()

    @property
    def fixed(self) -> Hashable:
        return ()

    @property
    def names(self) -> tuple[Name, ...]:
        return (self.link,)

    @property
    def within(self) -> tuple[Name, ...]:
        return namespace_of(self.link.space)

    def create(self) -> list[Op]:
        attrs: tuple[tuple[int, Value], ...] = (
            (IFNAME, self.link.text),
            (ADDRESS, mac(self.mac)),
            (MTU, u32(self.mtu ^ 1)),
            (GROUP, u32(self.group)),
            self._info(),
        )
        body = Body(IFINFO, (0, 0, self.link, 0, 0), attrs)
        return [
            Request(self.link.space, RTM_NEWLINK, NEW, body, makes=(self.link,), doing=f"create {self}"),
            *self._set(self.settings),
        ]

    def update(self, before: Self) -> list[Op]:
        # Spanning tree alone and first: while it is on, the kernel refuses a forward delay of less than 2 s.
        doing = f"update {self}"
        stp = LINKINFO, ((INFO_KIND, b"bridge"), (INFO_DATA, ((STP_STATE, u32(self.stp)),)))
        # Setting a MAC, even the same one, flushes all neighbours, also permanent ones.
        moved = ((ADDRESS, mac(self.mac)),) if self.mac != before.mac else ()
        attrs = (GROUP, u32(self.group)), *moved, self._info()
        first = set_link(self.link, (stp,), doing), set_link(self.link, attrs, doing)
        return [*first, *self._set(before.settings)]

    def _info(self) -> tuple[int, Value]:
        data = (
            (FORWARD_DELAY, u32(self.forward_delay)),
            (STP_STATE, u32(self.stp)),
            (MCAST_SNOOPING, u8(self.snooping)),
        )
        return LINKINFO, ((INFO_KIND, b"bridge"), (INFO_DATA, data))

    def _set(self, before: Settings) -> list[Op]:
        # The MTU that a bridge was created with is lost when a port with a smaller one joins. One that is set
        # afterwards sticks, if it is a change: so it is created with another (BROPT_MTU_SET_BY_USER).
        doing = f"configure {self}"
        settings = (IFALIAS, f"netfab:{self.link.text}"), settings_attr(self.settings)
        gained = self.settings.ipv6 and not before.ipv6
        return [
            set_link(self.link, ((MTU, u32(self.mtu)),), doing),
            *(gained_ipv6(self.link, self.mac) if gained else ()),
            *self._ipv6(),
            set_link(self.link, settings, doing),
            set_up(self.link, self.up, str(self)),
        ]

    def _ipv6(self) -> Iterator[Op]:
        # 2: even if it forwards (Documentation/networking/ip-sysctl.rst).
        for key, value in (
            ("accept_ra", "2" if self.settings.accept_ra else "0"),
            ("accept_redirects", str(int(self.settings.accept_ra))),
            ("force_forwarding", str(int(self.settings.forwarding6))),
        ):
            yield WriteSysctl(self.link.space, f"net/ipv6/conf/{self.link.text}/{key}", value, True)

    def delete(self) -> list[Op]:
        return [DelLink(self.link, self.group)]

    @classmethod
    def read(cls, dump: Dump) -> Iterator[Self]:
        for space, link in own_links(dump):
            if link.kind == "bridge":
                data = link.info_data()
                yield cls(
                    Name(space, link.name),
                    link.mac,
                    link.mtu,
                    link.group,
                    link.up,
                    number(data[FORWARD_DELAY]),
                    bool(number(data[STP_STATE])),
                    bool(number(data[MCAST_SNOOPING])),
                    link.settings,
                )

    @classmethod
    def unsettled(cls, dump: Dump) -> Iterator[Name]:
        return iter(())

    def differs_from(self, before: Self) -> Iterator[str]:
        """The differences, for people."""
        return fields(before, self, _WORDS)

    def __str__(self) -> str:
        return f"bridge {self.link}"
