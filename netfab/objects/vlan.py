"""Vlan: a link for one VLAN of the link below it, such as eth0.20 (802.1Q; linux/if_link.h, IFLA_VLAN_*).

What is below may be a NIC that is somebody else's: nothing of it is changed.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Self

from netfab.objects.base import HOST, Dump, Name, Op
from netfab.objects.link import INFO_DATA, INFO_KIND, LINK, LINKINFO, own_links
from netfab.objects.ops import DelLink
from netfab.objects.veth import End, carries_soon
from netfab.objects.wire import IFINFO, NEW, RTM_NEWLINK, Body, Request, number, u16
from netfab.tuples import NamedTuple

VLAN_ID = 1
FEATURE = "802.1q"


class Vlan(NamedTuple):
    """It sends with the tag, and receives frames with it. A link has at most one for each VLAN."""

    end: End
    base: Name  # in the same namespace
    vlan: int
    group: int

    @property
    def fixed(self) -> Hashable:
        return self.end.link, self.base, self.vlan

    @property
    def names(self) -> tuple[Name, ...]:
        return self.end.link, Name(f"vlan {self.base.space}", f"{self.base.text} {self.vlan}")

    @property
    def needs(self) -> tuple[Name, ...]:
        return (self.base,)

    @property
    def after(self) -> tuple[Name, ...]:
        return ()

    @property
    def within(self) -> tuple[Name, ...]:
        return (self.base,)

    @property
    def ends(self) -> tuple[End, ...]:
        """The end that carries addresses."""
        return (self.end,)

    @property
    def feature(self) -> str:
        """A feature that not every kernel has."""
        return FEATURE

    @property
    def _label(self) -> str:
        space = self.end.link.space
        return f"netfab:{'' if space == HOST else space.removeprefix('node ') + '/'}{self.end.link.text}"

    def create(self) -> list[Op]:
        info = (INFO_KIND, b"vlan"), (INFO_DATA, ((VLAN_ID, u16(self.vlan)),))
        attrs = (*self.end.born(self.group), (LINK, self.base), (LINKINFO, info))
        body = Body(IFINFO, (0, 0, self.end.link, 0, 0), attrs)
        makes = (self.end.link,)
        return [
            Request(self.base.space, RTM_NEWLINK, NEW, body, makes=makes, doing=f"create {self}"),
            *self.end.set(self._label),
        ]

    def update(self, before: Self) -> list[Op]:
        return self.end.update(before.end, self.group, self._label)

    def delete(self) -> list[Op]:
        return [DelLink(self.end.link, self.group)]

    @classmethod
    def read(cls, dump: Dump) -> Iterator[Self]:
        for space, link in own_links(dump):
            if link.kind == "vlan":
                below = space, number(link.attrs.get(LINK, b""))
                base = dump.links.get(below, Name("elsewhere", "a NIC"))
                yield cls(End.of(space, link), base, number(link.info_data()[VLAN_ID]), link.group)

    @classmethod
    def unsettled(cls, dump: Dump) -> Iterator[Name]:
        for space, link in own_links(dump):
            if link.kind == "vlan" and carries_soon(link):
                yield Name(space, link.name)

    def __str__(self) -> str:
        return f"vlan {self.end.link}"
