"""Port: a link's place on a bridge and its VLAN (linux/if_bridge.h; linux/if_link.h, IFLA_BRPORT_*)."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import cache
from typing import Self

from netfab.objects.base import HOST, Dump, Name, Op
from netfab.objects.filtering import FEATURE, VLAN_FILTERING, filtering_name
from netfab.objects.link import (
    AF_SPEC,
    BRPORT_HAIRPIN,
    BRPORT_ISOLATED,
    BRPORT_LEARNING,
    BRPORT_NEIGH_SUPPRESS,
    BRPORT_STATE,
    INFO_SLAVE_DATA,
    INFO_SLAVE_KIND,
    LINKINFO,
    MASTER,
    Link,
    in_port,
    own_links,
    set_link,
    set_up,
)
from netfab.objects.wire import (
    AF_BRIDGE,
    IFF_LOWER_UP,
    IFINFO,
    RTM_DELLINK,
    RTM_SETLINK,
    Body,
    Request,
    Words,
    every,
    number,
    u8,
    u16,
    u32,
)
from netfab.tuples import NamedTuple

_MODES = (BRPORT_ISOLATED, BRPORT_HAIRPIN, BRPORT_LEARNING, BRPORT_NEIGH_SUPPRESS)  # as Port has them
_BORN = (False, False, True, False)  # their values on a new port
_STATE, *_READ = (in_port(which) for which in (BRPORT_STATE, *_MODES))
FORWARDING = 3  # linux/if_bridge.h, BR_STATE_FORWARDING
DEFAULT_PVID = 39  # IFLA_BR_VLAN_DEFAULT_PVID: the VLAN of ports without another
VLAN_INFO = 2  # IFLA_BRIDGE_VLAN_INFO: struct bridge_vlan_info
ACCESS = 1 << 1 | 1 << 2  # BRIDGE_VLAN_INFO_PVID, _UNTAGGED: untagged frames are in it, both ways
_FIRST, _LAST = 1 << 3, 1 << 4  # BRIDGE_VLAN_INFO_RANGE_BEGIN, _END
MOST_VLAN = 4094
# A port that joins a bridge before the rules exist would connect what they keep apart.
_RULES = (Name("firewall", "inet"), Name("firewall", "bridge"))
OTHERWISE = -1  # a trunk, or no VLAN at all: nothing that we create


def port_name(link: Name) -> Name:
    """The name that a link's only port holds, on any kind of bridge."""
    return Name(f"port {link.space}", link.text)


class Port(NamedTuple):
    """A separate object from its link, so that a new bridge replaces ports and not the veths behind them."""

    link: Name
    bridge: Name
    isolated: bool = False
    hairpin: bool = False  # a frame may be sent back out of the port it came in by
    learning: bool = True  # of the MACs behind it, from frames received
    neigh_suppress: bool = False  # the bridge answers ARP for known neighbours behind it
    vlan: int = 0  # its only VLAN, untagged; 0: the bridge's default

    @property
    def fixed(self) -> Hashable:
        return self.vlan  # a port that leaves the bridge loses its VLANs

    @property
    def names(self) -> tuple[Name, ...]:
        return (port_name(self.link),)

    @property
    def needs(self) -> tuple[Name, ...]:
        # A foreign bridge's filtering is its owner's; ours filters as long as it has a port with a VLAN.
        return self.link, self.bridge, *((filtering_name(self.bridge),) if self.vlan else ())

    @property
    def after(self) -> tuple[Name, ...]:
        return _RULES

    @property
    def within(self) -> tuple[Name, ...]:
        return (self.link,)

    @property
    def feature(self) -> str:
        """A feature that not every kernel has."""
        return FEATURE if self.vlan else ""

    def create(self) -> list[Op]:
        made = self._enslave() + ([] if self._modes == _BORN else self._set_modes())
        if not self.vlan:
            return made
        # Every port starts in the bridge's default VLAN: while down it receives nothing there.
        up, down = (set_up(self.link, on, str(self.link)) for on in (True, False))
        return [down, *made, *self._tag(), up]

    def _tag(self) -> Iterator[Op]:
        """Move it from whatever VLANs it is in to its own."""
        every_one = (VLAN_INFO, u16(_FIRST) + u16(1)), (VLAN_INFO, u16(_LAST) + u16(MOST_VLAN))
        only = ((VLAN_INFO, u16(ACCESS) + u16(self.vlan)),)
        for kind, vlans in ((RTM_DELLINK, every_one), (RTM_SETLINK, only)):
            body = Body(IFINFO, (AF_BRIDGE, 0, self.link, 0, 0), ((AF_SPEC, vlans),))
            yield Request(self.link.space, kind, 0, body, doing=f"put {self.link} into VLAN {self.vlan}")

    def update(self, before: Self) -> list[Op]:
        move = self.bridge != before.bridge
        modes = not self._modes == before._modes == _BORN
        return (self._enslave() if move else []) + (self._set_modes() if modes else [])

    @property
    def _modes(self) -> tuple[bool, ...]:
        return self.isolated, self.hairpin, self.learning, self.neigh_suppress

    def _enslave(self) -> list[Op]:
        return [
            set_link(self.link, ((MASTER, self.bridge),), Words("put {} on {}", (self.link, self.bridge)))
        ]

    def _set_modes(self) -> list[Op]:
        # The kernel handles a port's bridge settings before IFLA_MASTER: never in the same message.
        data = tuple((mode, u8(on)) for mode, on in zip(_MODES, self._modes, strict=True))
        info = (INFO_SLAVE_KIND, b"bridge"), (INFO_SLAVE_DATA, data)
        return [set_link(self.link, ((LINKINFO, info),), f"configure {self}")]

    def delete(self) -> list[Op]:
        return [set_link(self.link, ((MASTER, u32(0)),), f"take {self.link} off {self.bridge}")]

    @classmethod
    def read(cls, dump: Dump) -> Iterator[Self]:
        defaults = default_vlans(dump.spaces[HOST].links) if HOST in dump.spaces else {}
        for space, link in own_links(dump):
            if (master := number(link.attrs.get(MASTER, b""))) and link.slave_kind == "bridge":
                isolated, hairpin, learning, suppress = _modes_of(tuple(map(link.attrs.get, _READ)))
                vlan = 0
                if space == HOST and master in defaults:
                    vlan = _access(dump.vlans.get(link.ifindex, ()), defaults[master])
                bridge = dump.links[space, master]
                yield cls(Name(space, link.name), bridge, isolated, hairpin, learning, suppress, vlan)

    @classmethod
    def unsettled(cls, dump: Dump) -> Iterator[Name]:
        waiting = [
            (space, link)
            for space, link in own_links(dump)
            if _STATE in link.attrs and number(link.attrs[_STATE]) != FORWARDING
            if link.up and link.flags & IFF_LOWER_UP
        ]
        up = {
            (space, link.ifindex)
            for space in {space for space, _ in waiting}
            for link in dump.spaces[space].links
            if link.up
        }
        for space, link in waiting:
            if (space, number(link.attrs.get(MASTER, b""))) in up:
                yield Name(space, link.name)

    def __str__(self) -> str:
        return f"port {self.link}"


@cache
def _modes_of(read: tuple[bytes | None, ...]) -> tuple[bool, ...]:
    """A port's values of _MODES. Cached: most ports of a host have the same."""
    return tuple(bool(number(value or b"")) for value in read)


class Entry(NamedTuple):
    """A VLAN that a port is in: struct bridge_vlan_info."""

    flags: int
    vlan: int


def entries(spec: bytes) -> tuple[Entry, ...]:
    """From the IFLA_AF_SPEC of a bridge's port, in a dump of VLANs."""
    return tuple(
        Entry(number(info[:2]), number(info[2:])) for info in every(spec, VLAN_INFO) if len(info) == 4
    )


def default_vlans(links: Iterable[Link]) -> dict[int, int]:
    """The default VLAN of each bridge that filters VLANs, by ifindex; 0: none."""
    return {
        link.ifindex: number(data.get(DEFAULT_PVID, b""))
        for link in links
        if link.kind == "bridge"
        for data in (link.info_data(),)
        if number(data.get(VLAN_FILTERING, b""))
    }


def _access(found: Sequence[Entry], default: int) -> int:
    """The `vlan` of a Port."""
    if found == ((ACCESS, default),) or (not found and not default):
        return 0
    return found[0].vlan if len(found) == 1 and found[0].flags == ACCESS else OTHERWISE
