"""Namespace: a node's network namespace, bound at /run/netns/<fabric>.<node>, and its lo."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Self

from netfab.objects.base import Dump, Name, Op
from netfab.objects.difference import Words, fields
from netfab.objects.link import GROUP, set_link, set_up
from netfab.objects.ops import DelNamespace, NewNamespace
from netfab.objects.wire import u32
from netfab.tuples import NamedTuple

_WORDS: Words = {
    "group": "mark",
    "up": ("lo", "down", "up"),
    "whole": ("", "only an empty file", "a namespace"),
}


class Namespace(NamedTuple):
    """A network namespace (network_namespaces(7)). Its mark is the group of its lo."""

    name: Name
    group: int
    up: bool = True  # lo's
    whole: bool = True  # False: only the file to bind it to, left by a command that was killed

    @property
    def needs(self) -> tuple[Name, ...]:
        return ()

    @property
    def after(self) -> tuple[Name, ...]:
        return ()

    @property
    def within(self) -> tuple[Name, ...]:
        return ()

    @property
    def fixed(self) -> Hashable:
        return self.whole

    @property
    def names(self) -> tuple[Name, ...]:
        return self.name, self.lo

    @property
    def lo(self) -> Name:
        """Its loopback link."""
        return Name(f"node {self.name.text}", "lo")

    def create(self) -> list[Op]:
        return [NewNamespace(self.name, self.group)]

    def update(self, before: Self) -> list[Op]:
        return [
            set_link(self.lo, ((GROUP, u32(self.group)),), f"mark {self}"),
            set_up(self.lo, self.up, f"lo of {self}"),
        ]

    def delete(self) -> list[Op]:
        return [DelNamespace(self.name)]

    @classmethod
    def read(cls, dump: Dump) -> Iterator[Self]:
        for space, found in dump.spaces.items():
            if space.startswith("node ") and space not in dump.guests:
                name = Name("namespace", space.removeprefix("node "))
                lo = next((link for link in found.links if link.ifindex == 1), None)
                yield cls(name, 0, False, False) if lo is None else cls(name, lo.group, lo.up)

    @classmethod
    def unsettled(cls, dump: Dump) -> Iterator[Name]:
        return iter(())

    def differs_from(self, before: Self) -> Iterator[str]:
        """The differences, for people."""
        return fields(before, self, _WORDS)

    def __str__(self) -> str:
        return f"namespace {self.name.text}"
