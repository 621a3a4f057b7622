"""OvsBridge: a bridge of Open vSwitch. Its MAC, and its MTU, the least of its ports', are Open vSwitch's."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Self

from netfab.objects.base import HOST, Dump, Name, Op
from netfab.objects.ops import Ovs
from netfab.objects.ovsdb import FEATURE, mark
from netfab.tuples import NamedTuple


class OvsBridge(NamedTuple):
    """A row of the table Bridge, marked as ours in the transaction that creates it."""

    link: Name  # its own interface
    datapath: str  # system or netdev
    fabric: str

    @property
    def fixed(self) -> Hashable:
        return self.datapath

    @property
    def names(self) -> tuple[Name, ...]:
        return (self.link,)

    @property
    def needs(self) -> tuple[Name, ...]:
        return ()

    @property
    def after(self) -> tuple[Name, ...]:
        return ()

    @property
    def within(self) -> tuple[Name, ...]:
        return ()  # it survives a reboot

    @property
    def feature(self) -> str:
        """The feature that not every host has."""
        return FEATURE

    def create(self) -> list[Op]:
        name = self.link.text
        made = ("add-br", name), ("set", "Bridge", name, f"datapath_type={self.datapath}", mark(self.fabric))
        return [Ovs(made, f"create {self}")]

    def update(self, before: Self) -> list[Op]:
        return []

    def delete(self) -> list[Op]:
        return [Ovs((("--if-exists", "del-br", self.link.text),), f"delete {self}", ends=True)]

    @classmethod
    def read(cls, dump: Dump) -> Iterator[Self]:
        for switch in dump.switches:
            if switch.fabric == dump.fabric:
                yield cls(Name(HOST, switch.name), switch.datapath, switch.fabric)

    @classmethod
    def unsettled(cls, dump: Dump) -> Iterator[Name]:
        return iter(())

    def __str__(self) -> str:
        return f"ovs-bridge {self.link}"
