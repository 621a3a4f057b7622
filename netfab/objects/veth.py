"""Veth: a cable with two ends, each in a namespace (veth(4), linux/veth.h)."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from functools import cache
from typing import Self

from netfab.objects.base import HOST, Dump, Name, Op, namespace_of
from netfab.objects.difference import UP, changed, fields, phrases
from netfab.objects.link import (
    ADDRESS,
    GROUP,
    IFALIAS,
    IFNAME,
    INFO_DATA,
    INFO_KIND,
    LINK,
    LINKINFO,
    MASTER,
    MTU,
    NET_NS_FD,
    NUM_RX_QUEUES,
    NUM_TX_QUEUES,
    OPERSTATE,
    OPERSTATE_UP,
    Link,
    Settings,
    gained_ipv6,
    group_of,
    own_links,
    set_link,
    set_up,
    settings_attr,
    unmarked_links,
)
from netfab.objects.ops import DelLink, WriteSysctl
from netfab.objects.wire import (
    IFF_LOWER_UP,
    IFF_UP,
    IFINFO,
    NEW,
    RTM_NEWLINK,
    Body,
    Request,
    Value,
    Words,
    mac,
    number,
    u32,
)
from netfab.tuples import NamedTuple

VETH_INFO_PEER = 1
NEW_LINK = Settings(accept_ra=True)  # a new link's settings, as far as netfab relies on them
_UNSEEN = "elsewhere"  # the space of an end that was not found in the dump
_ONE_QUEUE: tuple[tuple[int, Value], ...] = ((NUM_TX_QUEUES, u32(1)), (NUM_RX_QUEUES, u32(1)))


class End(NamedTuple):
    """One end of a veth."""

    link: Name
    mac: str
    mtu: int
    up: bool = True
    settings: Settings = NEW_LINK  # accept_ra is left alone if IPv6 is off

    def born(self, group: int) -> tuple[tuple[int, Value], ...]:
        """Attributes of the creating message. One queue, not one per possible CPU: 40 % cheaper."""
        return (
            (IFNAME, self.link.text),
            (ADDRESS, mac(self.mac)),
            (MTU, u32(self.mtu)),
            (GROUP, u32(group)),
            *_ONE_QUEUE,
        )

    def set(self, label: str, before: Settings = NEW_LINK) -> list[Op]:
        """Settings, then up: in one message the kernel would change flags first."""
        space, name = self.link
        ops: list[Op] = []
        if self.settings.ipv6 and not before.ipv6:
            ops += gained_ipv6(self.link, self.mac)
        if self.settings.ipv6 and not (self.settings.accept_ra and before.accept_ra):
            value = str(int(self.settings.accept_ra))
            ops += [
                WriteSysctl(space, f"net/ipv6/conf/{name}/{key}", value, True)
                for key in ("accept_ra", "accept_redirects")
            ]
        attrs = ((IFALIAS, label), settings_attr(self.settings))
        ops.append(set_link(self.link, attrs, Words("configure {}", (self.link,))))
        if self.up:
            ops.append(set_up(self.link, True, self.link))
        return ops

    def update(self, before: Self, group: int, label: str, *more: tuple[int, Value]) -> list[Op]:
        """The steps from `before`, the same link, to this; with `more` of its attributes."""
        attrs = ((GROUP, u32(group)), (ADDRESS, mac(self.mac)), (MTU, u32(self.mtu)), *more)
        ops = [set_link(self.link, attrs, f"update {self.link}"), *self.set(label, before.settings)]
        if before.up and not self.up:
            ops.append(set_up(self.link, False, self.link))
        return ops

    def differs_from(self, before: Self) -> Iterator[str]:
        """The differences, for people."""
        return fields(before, self, {"link": "", "mac": "MAC", "up": UP})

    @classmethod
    def of(cls, space: str, link: Link) -> End:
        """An end from a dumped link."""
        settings = link.settings
        if space == HOST and MASTER in link.attrs:
            settings = _of_port(settings)
        return cls(Name(space, link.name), link.mac, link.mtu, link.up, settings)


class Veth(NamedTuple):
    """Two ends. `a` is the host's, if there is one, else that of the smaller name."""

    a: End
    b: End
    group: int

    @property
    def after(self) -> tuple[Name, ...]:
        return ()

    @property
    def fixed(self) -> Hashable:
        return self.a.link, self.b.link

    @property
    def names(self) -> tuple[Name, ...]:
        return self.a.link, self.b.link

    @property
    def needs(self) -> tuple[Name, ...]:
        return namespace_of(self.a.link.space) + namespace_of(self.b.link.space)

    @property
    def within(self) -> tuple[Name, ...]:
        # An open shell keeps a namespace alive, and with it a host's end: those are deleted explicitly, never
        # left to the namespace.
        return () if self.a.link.space == HOST else self.needs

    @property
    def ends(self) -> tuple[End, ...]:
        """The ends, which may carry addresses."""
        return self.a, self.b

    @property
    def _label(self) -> str:
        """The alias that people see on the host: whose it is."""
        return f"netfab:{self.b.link.space.removeprefix('node ')}/{self.b.link.text}"

    def create(self) -> list[Op]:
        namespace = namespace_of(self.b.link.space)
        peer = self.b.born(self.group) + tuple((NET_NS_FD, name) for name in namespace)
        attrs = (
            *self.a.born(self.group),
            (LINKINFO, (
                (INFO_KIND, b"veth"),
                (INFO_DATA, ((VETH_INFO_PEER, Body(IFINFO, (0, 0, self.b.link, 0, 0), peer)),)),
            )),
        )  # fmt: skip
        body = Body(IFINFO, (0, 0, self.a.link, 0, 0), attrs)
        ends = (self.a.link, self.b.link)
        doing = Words("create {}", (self,))
        born = Request(self.a.link.space, RTM_NEWLINK, NEW, body, makes=ends, doing=doing)
        return [born, *self.b.set(self._label), *self.a.set(self._label)]  # a peer can't be created up

    def update(self, before: Self) -> list[Op]:
        ops: list[Op] = []
        for end, was in ((self.a, before.a), (self.b, before.b)):
            if end != was or self.group != before.group:
                ops += end.update(was, self.group, self._label)
        return ops

    def delete(self) -> list[Op]:
        return [DelLink(self.a.link, self.group)]

    @classmethod
    def read(cls, dump: Dump) -> Iterator[Self]:
        # An ifindex is unique in its namespace only, so both ends must point at each other, and both be
        # marked or at least labelled: a user's own pair inside a node may well have the same two indexes.
        ours = [(space, link, _peer(link)) for space, link in own_links(dump) if link.kind == "veth"]
        at: dict[tuple[int, int], list[tuple[str, Link, bool]]] = {}
        for space, link, peer_index in ours:
            at.setdefault((link.ifindex, peer_index), []).append((space, link, True))
        for space, link in unmarked_links(dump):
            if link.kind == "veth":
                at.setdefault((link.ifindex, _peer(link)), []).append((space, link, False))
        marked = group_of(dump.fabric)
        for space, link, peer_index in ours:
            ends = at.get((peer_index, link.ifindex), ())
            for peer_space, peer, is_marked in ends:
                first = _place(space, link) < _place(peer_space, peer)
                if first or not is_marked:  # each pair once
                    two = End.of(space, link), End.of(peer_space, peer)
                    a, b = two if first else reversed(two)
                    yield cls(a, b, link.group if link.group != marked else peer.group)
            if not ends:
                yield cls(End.of(space, link), End(Name(_UNSEEN, link.name), "", 0), link.group)

    @classmethod
    def unsettled(cls, dump: Dump) -> Iterator[Name]:
        for space, link in own_links(dump):
            if link.kind == "veth" and carries_soon(link):
                yield Name(space, link.name)

    def differs_from(self, before: Self) -> Iterator[str]:
        """The differences, for people; those of the end that does not name the veth begin with its link."""
        if before.b.link.space == _UNSEEN:
            yield f"the other end of {before.a.link} is not there"
            return
        for was, end in ((before.a, self.a), (before.b, self.b)):
            called = self.a.link.space == HOST and end is self.b
            yield from (phrase if called else f"{was.link} {phrase}" for phrase in phrases(was, end))
        if self.group != before.group:
            yield changed("mark", str(before.group), str(self.group))

    def __str__(self) -> str:
        """Named by the node's end, as the host's end has a generated name."""
        return f"veth {self.b.link}" if self.a.link.space == HOST else f"veth {self.a.link} - {self.b.link}"


@cache
def _of_port(settings: Settings) -> Settings:
    """A bridge's port accepts neither router advertisements nor redirects, whatever the host's defaults."""
    return settings._replace(accept_ra=settings.ipv6, accept_redirects=False)


def carries_soon(link: Link) -> bool:
    """Whether it has a carrier that the kernel has not yet propagated everywhere."""
    carrier = link.flags & (IFF_UP | IFF_LOWER_UP) == IFF_UP | IFF_LOWER_UP
    return carrier and number(link.attrs.get(OPERSTATE, b"")) != OPERSTATE_UP


def _peer(link: Link) -> int:
    return number(link.attrs.get(LINK, b""))


def _place(space: str, link: Link) -> tuple[bool, str, str]:
    """The sort key of the two ends: the host's first."""
    return space != HOST, space, link.name
