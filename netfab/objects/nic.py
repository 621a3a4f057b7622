"""Nic: a NIC of the host, moved into the namespace of a node or guest, and given back when it ends.

The kernel gives hardware back to the first namespace by itself when its namespace ends, down and bare, under
the name that it had inside (or dev%d where that is taken); a veth that served as somebody's NIC it deletes.
So a Nic is always moved home before its namespace goes; one that came home with a guest that died is found
there by its mark.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Self

from netfab.objects.base import HOST, Dump, Name, Op, namespace_of
from netfab.objects.link import (
    ADDRESS,
    GROUP,
    IFALIAS,
    IFNAME,
    MTU,
    NET_NS_FD,
    Link,
    moved_mark,
    set_link,
    set_up,
)
from netfab.objects.original import Original
from netfab.objects.veth import End
from netfab.objects.wire import IFINFO, RTM_NEWLINK, Body, Request, Value, mac, u32
from netfab.tuples import NamedTuple

NEW_IFINDEX = 49  # IFLA_NEW_IFINDEX, linux/if_link.h
HOME = Name("namespace", HOST)


class Nic(NamedTuple):
    """A NIC that was on the host under `name`.

    What it had there is leased before the move, as for a Borrowed. Its mark is an alias, set first
    and removed last, so that it is found wherever a kill leaves it; nothing with that alias is ever deleted.
    Its group, set with the move, marks its addresses inside as ours.
    """

    name: str
    end: End
    group: int
    original: Original

    @property
    def fixed(self) -> Hashable:
        return self.end.link

    @property
    def names(self) -> tuple[Name, ...]:
        return Name("nic", self.name), self.end.link

    @property
    def needs(self) -> tuple[Name, ...]:
        return namespace_of(self.end.link.space)

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
    def _mark(self) -> str:
        fabric = self.end.link.space.removeprefix("node ").partition(".")[0]
        return moved_mark(fabric, self.name)

    def create(self) -> list[Op]:
        at_home = Name(HOST, self.name)
        attrs: tuple[tuple[int, Value], ...] = (
            (IFNAME, self.end.link.text),
            (GROUP, u32(self.group)),
            *((NET_NS_FD, name) for name in self.needs),
            (NEW_IFINDEX, self.end.link),
        )
        body = Body(IFINFO, (0, 0, at_home, 0, 0), attrs)
        doing = f"move {self.name} to {self.end.link}"
        return [
            set_link(at_home, ((IFALIAS, self._mark),), f"mark {self.name}"),
            Request(HOST, RTM_NEWLINK, 0, body, makes=(self.end.link,), doing=doing, alone=True),
            self._station(),
            *self.end.set(self._mark),
        ]

    def update(self, before: Self) -> list[Op]:
        ops: list[Op] = [self._station(), *self.end.set(self._mark, before.end.settings)]
        if before.end.up and not self.end.up:
            ops.append(set_up(self.end.link, False, str(self)))
        return ops

    def _station(self) -> Request:
        station = ((ADDRESS, mac(self.end.mac)),) if self.end.mac else ()
        attrs = ((GROUP, u32(self.group)), *station, (MTU, u32(self.end.mtu)))
        return set_link(self.end.link, attrs, f"update {self.end.link}")

    def delete(self) -> list[Op]:
        at_home = Name(HOST, self.name)
        if self.end.link.space == HOST:  # it is back but not restored yet, or came back as its guest died
            named = set_link(self.end.link, ((IFNAME, self.name),), f"name {self.name}")
            return [
                *([named._replace(ends=True, alone=True)] if self.end.link != at_home else []),
                *self.original.give_back(self.end.link),
            ]
        attrs = ((IFNAME, self.name), (NET_NS_FD, HOME), (NEW_IFINDEX, at_home))
        body = Body(IFINFO, (0, 0, self.end.link, 0, 0), attrs)
        moved = Request(
            self.end.link.space,
            RTM_NEWLINK,
            0,
            body,
            makes=(at_home,),
            doing=f"move {self.end.link} back to {self.name}",
            ends=True,
            ifindex=self.original.ifindex,
        )
        return [moved, *self.original.give_back(at_home)]

    @classmethod
    def read(cls, dump: Dump) -> Iterator[Self]:
        for name, original in dump.nics.items():
            mark = moved_mark(dump.fabric, name).encode()
            for space, link in _marked(dump, mark):
                # A guest may set any alias on its own links; it can't create hardware.
                if link.kind == original.kind:
                    yield cls(name, End.of(space, link), link.group, original)
                    break

    @classmethod
    def unsettled(cls, dump: Dump) -> Iterator[Name]:
        return iter(())  # we do not wait for its carrier

    def __str__(self) -> str:
        return f"nic {self.name} as {self.end.link}"


def _marked(dump: Dump, mark: bytes) -> Iterator[tuple[str, Link]]:
    """(space, link) of all with that alias, the host's first."""
    for space in sorted(dump.spaces, key=lambda space: space != HOST):
        for link in dump.spaces[space].links:
            if link.attrs.get(IFALIAS, b"").rstrip(b"\0") == mark:
                yield space, link
