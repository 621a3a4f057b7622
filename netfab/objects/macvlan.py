"""Macvlan: an interface of a node or guest that sends through a NIC of the host (linux/if_link.h).

The NIC is somebody else's, and nothing of it is changed: whether it is up is its owner's business.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Self

from netfab.objects.base import HOST, Dump, Name, Op, namespace_of
from netfab.objects.link import INFO_DATA, INFO_KIND, LINK, LINKINFO, NET_NS_FD, own_links
from netfab.objects.ops import DelLink
from netfab.objects.veth import End, carries_soon
from netfab.objects.wire import IFINFO, NEW, RTM_NEWLINK, Body, Request, Value, number, u32
from netfab.tuples import NamedTuple

MACVLAN_MODE = 1
BRIDGE = 4  # MACVLAN_MODE_BRIDGE: macvlans of one NIC reach each other, as on a bridge


class Macvlan(NamedTuple):
    """A second station on a NIC: with its own MAC, in another namespace. The host itself can't reach it.

    Always deleted explicitly: a deleted namespace is cleaned up later, and while a macvlan in it is up with
    this MAC, the kernel lets no other with it come up on the NIC (EADDRINUSE, which kernel/ waits out).
    """

    end: End
    nic: Name
    group: int
    mode: int = BRIDGE

    @property
    def fixed(self) -> Hashable:
        return self.end.link, self.nic

    @property
    def names(self) -> tuple[Name, ...]:
        return (self.end.link,)

    @property
    def needs(self) -> tuple[Name, ...]:
        return (*namespace_of(self.end.link.space), self.nic)

    @property
    def after(self) -> tuple[Name, ...]:
        return ()

    @property
    def within(self) -> tuple[Name, ...]:
        return ()

    @property
    def ends(self) -> tuple[End, ...]:
        """The end that carries addresses."""
        return (self.end,)

    @property
    def _label(self) -> str:
        return f"netfab:{self.end.link.space.removeprefix('node ')}/{self.end.link.text}"

    def create(self) -> list[Op]:
        namespace = tuple((NET_NS_FD, name) for name in namespace_of(self.end.link.space))
        attrs = (*self.end.born(self.group), (LINK, self.nic), *namespace, self._info())
        body = Body(IFINFO, (0, 0, self.end.link, 0, 0), attrs)
        makes = (self.end.link,)
        return [
            Request(HOST, RTM_NEWLINK, NEW, body, makes=makes, doing=f"create {self}"),
            *self.end.set(self._label),
        ]

    def update(self, before: Self) -> list[Op]:
        return self.end.update(before.end, self.group, self._label, self._info())

    def _info(self) -> tuple[int, Value]:
        return LINKINFO, ((INFO_KIND, b"macvlan"), (INFO_DATA, ((MACVLAN_MODE, u32(self.mode)),)))

    def delete(self) -> list[Op]:
        return [DelLink(self.end.link, self.group)]

    @classmethod
    def read(cls, dump: Dump) -> Iterator[Self]:
        # IFLA_LINK is the NIC's ifindex in the NIC's namespace: the host, for those we made. A NIC that was
        # moved away left no such index there, unless another link got it since.
        for space, link in own_links(dump):
            if link.kind == "macvlan":
                nic = dump.links.get((HOST, number(link.attrs.get(LINK, b""))), Name("elsewhere", "a NIC"))
                mode = number(link.info_data().get(MACVLAN_MODE, b""))
                yield cls(End.of(space, link), nic, link.group, mode)

    @classmethod
    def unsettled(cls, dump: Dump) -> Iterator[Name]:
        for space, link in own_links(dump):
            if link.kind == "macvlan" and carries_soon(link):
                yield Name(space, link.name)

    def __str__(self) -> str:
        return f"macvlan {self.end.link} - {self.nic}"
