"""OvsPort: a link's place on a bridge of Open vSwitch; of one VLAN, where it has a tag.

The row outlives its link, whose end Open vSwitch only notes: so it is always deleted by itself.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Self

from netfab.objects.base import HOST, Dump, Name, Op
from netfab.objects.ops import Ovs
from netfab.objects.ovsdb import FEATURE, mark
from netfab.objects.port import port_name
from netfab.tuples import NamedTuple


class OvsPort(NamedTuple):
    """A row of the table Port, marked as ours in the transaction that creates it."""

    link: Name
    bridge: Name
    fabric: str
    vlan: int = 0  # 0: a trunk of all VLANs, tagged

    @property
    def fixed(self) -> Hashable:
        return self.bridge

    @property
    def names(self) -> tuple[Name, ...]:
        return (port_name(self.link),)

    @property
    def needs(self) -> tuple[Name, ...]:
        return self.link, self.bridge

    @property
    def after(self) -> tuple[Name, ...]:
        return ()

    @property
    def within(self) -> tuple[Name, ...]:
        return ()

    @property
    def feature(self) -> str:
        """The feature that not every host has."""
        return FEATURE

    def create(self) -> list[Op]:
        tag = (f"tag={self.vlan}",) if self.vlan else ()
        made = ("add-port", self.bridge.text, self.link.text, *tag, mark(self.fabric))
        return [Ovs((made,), f"put {self.link} on {self.bridge}")]

    def update(self, before: Self) -> list[Op]:
        port = "Port", self.link.text
        tag = ("set", *port, f"tag={self.vlan}") if self.vlan else ("clear", *port, "tag")
        return [Ovs((tag,), f"configure {self}")]

    def delete(self) -> list[Op]:
        gone = ("--if-exists", "del-port", self.link.text)
        return [Ovs((gone,), f"take {self.link} off {self.bridge}", ends=True)]

    @classmethod
    def read(cls, dump: Dump) -> Iterator[Self]:
        for switch in dump.switches:
            for port in switch.ports:
                if port.fabric == dump.fabric:
                    yield cls(Name(HOST, port.name), Name(HOST, switch.name), port.fabric, port.tag)

    @classmethod
    def unsettled(cls, dump: Dump) -> Iterator[Name]:
        return iter(())

    def __str__(self) -> str:
        return f"ovs-port {self.link}"
