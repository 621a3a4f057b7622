"""Filtering: a bridge keeps VLANs apart (IEEE 802.1Q, linux/if_link.h, IFLA_BR_VLAN_FILTERING).

An object of its own, which ports of a VLAN need: so it is there before they are, and ends after them.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Self

from netfab.objects.base import Dump, Name, Op
from netfab.objects.link import INFO_DATA, INFO_KIND, LINKINFO, own_links, set_link
from netfab.objects.wire import number, u8
from netfab.tuples import NamedTuple

VLAN_FILTERING = 7
FEATURE = "bridge VLAN filtering"


def filtering_name(bridge: Name) -> Name:
    """The name that a port with a VLAN needs."""
    return Name(f"vlans {bridge.space}", bridge.text)


class Filtering(NamedTuple):
    """VLAN filtering of one of our bridges. Ports without a VLAN, and the bridge itself, stay in VLAN 1."""

    bridge: Name

    @property
    def fixed(self) -> Hashable:
        return ()

    @property
    def names(self) -> tuple[Name, ...]:
        return (filtering_name(self.bridge),)

    @property
    def needs(self) -> tuple[Name, ...]:
        return (self.bridge,)

    @property
    def after(self) -> tuple[Name, ...]:
        return ()

    @property
    def within(self) -> tuple[Name, ...]:
        return (self.bridge,)

    @property
    def feature(self) -> str:
        """A feature that not every kernel has."""
        return FEATURE

    def create(self) -> list[Op]:
        return [self._switched(True)]

    def update(self, before: Self) -> list[Op]:
        return []

    def delete(self) -> list[Op]:
        return [self._switched(False)]

    def _switched(self, on: bool) -> Op:
        info = (INFO_KIND, b"bridge"), (INFO_DATA, ((VLAN_FILTERING, u8(on)),))
        doing = f"{'' if on else 'no longer '}filter VLANs on {self.bridge}"
        return set_link(self.bridge, ((LINKINFO, info),), doing)

    @classmethod
    def read(cls, dump: Dump) -> Iterator[Self]:
        for space, link in own_links(dump):
            if link.kind == "bridge" and number(link.info_data().get(VLAN_FILTERING, b"")):
                yield cls(Name(space, link.name))

    @classmethod
    def unsettled(cls, dump: Dump) -> Iterator[Name]:
        return iter(())

    def __str__(self) -> str:
        return f"vlan-filtering {self.bridge}"
