"""Uplink: a NIC of the host as a port of a bridge, which has the NIC's addresses and routes meanwhile.

Everything is given to the bridge before it is taken from the NIC, and the same on the way back, so that at
no moment an address or a route is nowhere. A bridge without a carrier sends nothing, and the kernel tells it
of its first port's carrier later (net/core/link_watch.c): that is waited for between port and addresses. An
IPv6 address has no local route until a work queue had its turn, also without duplicate detection
(net/ipv6/addrconf.c, addrconf_dad_work): that is waited for before it is taken from where it was.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Self

from netfab.objects.base import HOST, Dump, Name, Op
from netfab.objects.kept import Kept
from netfab.objects.link import (
    BRPORT_ISOLATED,
    IFALIAS,
    INFO_SLAVE_DATA,
    INFO_SLAVE_KIND,
    LINKINFO,
    MASTER,
    Link,
    in_port,
    moved_mark,
    set_link,
    set_up,
)
from netfab.objects.ops import AwaitAddresses, AwaitCarrier, CopyNeighbours
from netfab.objects.original import Original
from netfab.objects.wire import Request, number, u8, u32
from netfab.tuples import NamedTuple


class Uplink(NamedTuple):
    """A NIC, what it had of its own, and the bridge that it is lent to.

    What it had is leased before anything is done, as for a Borrowed. Its mark is an alias, set first
    and removed last, as a moved NIC's (nic.py): marked means that something of it is elsewhere.
    """

    nic: str
    bridge: Name
    mark: str  # of the fabric
    original: Original
    isolated: bool = False
    misplaced: tuple[str, ...] = ()  # what is not where it should be, in words

    @property
    def fixed(self) -> Hashable:
        return self.bridge

    @property
    def names(self) -> tuple[Name, ...]:
        return Name("nic", self.nic), Name(f"port {HOST}", self.nic)

    @property
    def needs(self) -> tuple[Name, ...]:
        return self.bridge, self._link

    @property
    def after(self) -> tuple[Name, ...]:
        # As for our own ports: before the rules exist it would connect what they keep apart.
        return Name("firewall", "inet"), Name("firewall", "bridge")

    @property
    def within(self) -> tuple[Name, ...]:
        return ()  # the host's own addresses must not end with a bridge

    @property
    def _link(self) -> Name:
        return Name(HOST, self.nic)

    def create(self) -> list[Op]:
        return [
            set_link(self._link, ((IFALIAS, self.mark),), f"mark {self.nic}"),
            self._enslave()._replace(alone=True),
            *([] if self.original.up else [set_up(self._link, True, self.nic)]),
            self._isolate(),
            AwaitCarrier(self.bridge, self._link),
            CopyNeighbours(self._link, self.bridge),
            *(thing.give(self.bridge) for thing in self._on_bridge()),
            AwaitAddresses(self.bridge),
            *(thing.take(self._link)._replace(alone=True) for thing in _last_first(self.original.belongings)),
        ]

    def _on_bridge(self) -> tuple[Kept, ...]:
        """The NIC's addresses and routes, for the bridge."""
        addresses = (address.on(self.bridge.text, self.nic) for address in self.original.addresses)
        return (*addresses, *self.original.routes)

    def update(self, before: Self) -> list[Op]:
        return self.create()

    def _enslave(self) -> Request:
        return set_link(self._link, ((MASTER, self.bridge),), f"put {self.nic} on {self.bridge}")

    def _isolate(self) -> Request:
        info = (INFO_SLAVE_KIND, b"bridge"), (INFO_SLAVE_DATA, ((BRPORT_ISOLATED, u8(self.isolated)),))
        return set_link(self._link, ((LINKINFO, info),), f"configure {self}")

    def delete(self) -> list[Op]:
        free = set_link(self._link, ((MASTER, u32(0)),), f"take {self.nic} off {self.bridge}")
        as_it_was = set_up(self._link, self.original.up, self.nic)
        unmark = set_link(self._link, ((IFALIAS, self.original.alias),), f"unmark {self.nic}")
        return [
            CopyNeighbours(self.bridge, self._link),
            *self.original.give(self._link),
            AwaitAddresses(self._link),
            # In one send: packets still arriving by the bridge are answered by IPv6 through the bridge only.
            *(thing.take(self.bridge)._replace(alone=True) for thing in _last_first(self._on_bridge())),
            free._replace(ends=True, alone=True),
            as_it_was._replace(ends=True),
            unmark._replace(ends=True, alone=True),
        ]

    @classmethod
    def read(cls, dump: Dump) -> Iterator[Self]:
        for name, lent in dump.uplinks.items():
            mark = moved_mark(dump.fabric, name)
            if lent.nic.attrs.get(IFALIAS, b"").rstrip(b"\0") == mark.encode():
                isolated = bool(number(lent.nic.attrs.get(in_port(BRPORT_ISOLATED), b"")))
                yield cls(name, lent.bridge, mark, lent.original, isolated, tuple(lent.misplaced(name)))

    @classmethod
    def unsettled(cls, dump: Dump) -> Iterator[Name]:
        return iter(())  # we waited for its carrier already; whether there is one is not ours to say

    def differs_from(self, before: Self) -> Iterator[str]:
        """The differences, for people."""
        yield from before.misplaced
        if self.isolated != before.isolated:
            yield f"isolated {'off -> on' if self.isolated else 'on -> off'}"

    def __str__(self) -> str:
        return f"uplink {self.nic} of {self.bridge}"


class Lent(NamedTuple):
    """A NIC and its bridge as they are now, and what the NIC had."""

    original: Original
    bridge: Name
    nic: Link
    is_port: bool  # of that bridge
    on_nic: tuple[Kept, ...]
    on_bridge: tuple[Kept, ...]

    def misplaced(self, name: str) -> Iterator[str]:
        """What is not where it should be. What expires may be gone, or be renewed on either."""
        if not self.is_port:
            yield f"{name} is not a port of {self.bridge}"
        there = {thing.identity for thing in self.on_bridge}
        back = {thing.identity for thing in self.on_nic}
        for thing in self.original.belongings:
            if not thing.lapses:
                if thing.identity not in there:
                    yield f"{thing} is missing"
                if thing.identity in back and not thing.comes_with_carrier:
                    yield f"{thing} is on {name}"


def _last_first(things: Sequence[Kept]) -> Iterator[Kept]:
    """Routes, then addresses, the first of a subnet last: deleting it drops the others."""
    return reversed(things)
