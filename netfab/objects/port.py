"""Port: a link's place on a bridge (linux/if_link.h, IFLA_BRPORT_*)."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import NamedTuple, Self

from netfab.objects.base import Dump, Name, Op
from netfab.objects.link import (
    BRPORT_HAIRPIN,
    BRPORT_ISOLATED,
    BRPORT_LEARNING,
    BRPORT_NEIGH_SUPPRESS,
    BRPORT_STATE,
    INFO_SLAVE_DATA,
    INFO_SLAVE_KIND,
    LINKINFO,
    MASTER,
    in_port,
    own_links,
    set_link,
)
from netfab.objects.wire import IFF_LOWER_UP, number, u8, u32

_MODES = (BRPORT_ISOLATED, BRPORT_HAIRPIN, BRPORT_LEARNING, BRPORT_NEIGH_SUPPRESS)  # as Port has them
_BORN = (False, False, True, False)  # what a new port has of them
_STATE, *_READ = (in_port(which) for which in (BRPORT_STATE, *_MODES))
FORWARDING = 3  # linux/if_bridge.h, BR_STATE_FORWARDING


class Port(NamedTuple):
    """An object of its own, so that a new bridge replaces ports and not the cables behind them."""

    link: Name
    bridge: Name
    isolated: bool = False
    hairpin: bool = False  # a frame may go back to where it came from
    learning: bool = True  # which MACs are behind it, by what they send
    neigh_suppress: bool = False  # what the bridge knows of who is behind it, it answers itself

    @property
    def fixed(self) -> Hashable:
        return ()

    @property
    def names(self) -> tuple[Name, ...]:
        return (Name(f"port {self.link.space}", self.link.text),)

    @property
    def needs(self) -> tuple[Name, ...]:
        return self.link, self.bridge

    @property
    def after(self) -> tuple[Name, ...]:
        # A port that is on a bridge before the rules are would join what they keep apart.
        return (Name("firewall", "inet"), Name("firewall", "bridge"))

    @property
    def within(self) -> tuple[Name, ...]:
        return (self.link,)

    def create(self) -> list[Op]:
        return self._enslave() + ([] if self._modes == _BORN else self._set_modes())

    def update(self, before: Self) -> list[Op]:
        move = self.bridge != before.bridge
        modes = not self._modes == before._modes == _BORN
        return (self._enslave() if move else []) + (self._set_modes() if modes else [])

    @property
    def _modes(self) -> tuple[bool, ...]:
        return self.isolated, self.hairpin, self.learning, self.neigh_suppress

    def _enslave(self) -> list[Op]:
        return [set_link(self.link, ((MASTER, self.bridge),), f"put {self.link} on {self.bridge}")]

    def _set_modes(self) -> list[Op]:
        # The bridge's own settings of a port are looked at before IFLA_MASTER: never in the same message.
        data = tuple((mode, u8(on)) for mode, on in zip(_MODES, self._modes, strict=True))
        info = (INFO_SLAVE_KIND, b"bridge"), (INFO_SLAVE_DATA, data)
        return [set_link(self.link, ((LINKINFO, info),), f"configure {self}")]

    def delete(self) -> list[Op]:
        return [set_link(self.link, ((MASTER, u32(0)),), f"take {self.link} off {self.bridge}")]

    @classmethod
    def read(cls, dump: Dump) -> Iterator[Self]:
        for space, link in own_links(dump):
            if (master := number(link.attrs.get(MASTER, b""))) and link.slave_kind == "bridge":
                modes = (bool(number(link.attrs.get(mode, b""))) for mode in _READ)
                yield cls(Name(space, link.name), dump.links[space, master], *modes)

    @classmethod
    def unsettled(cls, dump: Dump) -> Iterator[Name]:
        up = {
            (space, link.ifindex) for space, found in dump.spaces.items() for link in found.links if link.up
        }
        for space, link in own_links(dump):
            works = link.up and link.flags & IFF_LOWER_UP
            waits = _STATE in link.attrs and number(link.attrs[_STATE]) != FORWARDING
            if works and waits and (space, number(link.attrs.get(MASTER, b""))) in up:
                yield Name(space, link.name)

    def __str__(self) -> str:
        return f"port {self.link}"
