"""Sysctl: a value below /proc/sys in a node's namespace that netlink can't set."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Self

from netfab.objects.base import HOST, Dump, Name, Op, namespace_of, node_of
from netfab.objects.difference import fields
from netfab.objects.ops import ResetSysctl, WriteSysctl
from netfab.tuples import NamedTuple


class Sysctl(NamedTuple):
    """A namespaced sysctl, its key with slashes: net/ipv4/ip_forward.

    Ended, it is what a new namespace has.
    """

    space: str
    key: str
    value: str

    @property
    def fixed(self) -> Hashable:
        return ()

    @property
    def after(self) -> tuple[Name, ...]:
        return ()

    @property
    def names(self) -> tuple[Name, ...]:
        return (Name(f"sysctl {self.space}", self.key),)

    @property
    def needs(self) -> tuple[Name, ...]:
        return namespace_of(self.space)

    @property
    def within(self) -> tuple[Name, ...]:
        return namespace_of(self.space)

    @property
    def asks(self) -> tuple[str, str]:
        """What has to be asked for to read it: no dump lists sysctls."""
        return self.space, self.key

    def create(self) -> list[Op]:
        return [WriteSysctl(self.space, self.key, self.value)]

    def update(self, before: Self) -> list[Op]:
        return self.create()

    def delete(self) -> list[Op]:
        return [ResetSysctl(self.space, self.key)]

    @classmethod
    def read(cls, dump: Dump) -> Iterator[Self]:
        for (space, key), value in dump.sysctls.items():
            if space != HOST:
                yield cls(space, key, value)

    @classmethod
    def unsettled(cls, dump: Dump) -> Iterator[Name]:
        return iter(())

    def differs_from(self, before: Self) -> Iterator[str]:
        """What is different, for people."""
        return fields(before, self, {"value": ""})

    def __str__(self) -> str:
        return f"sysctl {self.key} of {node_of(self.space)}"
