"""Borrowed: a sysctl of the host that we change and don't own, with what it was before us."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Self

from netfab.objects.base import HOST, Dump, Name, Op
from netfab.objects.difference import fields
from netfab.objects.ops import WriteSysctl
from netfab.tuples import NamedTuple


class Borrowed(NamedTuple):
    """A value below /proc/sys on the host, its key with slashes. Deleting it restores the original.

    The original is leased before anything is changed. While another fabric borrows the same key, ours is not
    known to the observer (fabric.py), so that only the last one restores it.
    """

    key: str
    value: str
    original: str

    @property
    def fixed(self) -> Hashable:
        return ()

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
    def names(self) -> tuple[Name, ...]:
        return (Name("borrowed", self.key),)

    @property
    def asks(self) -> tuple[str, str]:
        """The (space, key) to read: no dump lists sysctls."""
        return HOST, self.key

    def create(self) -> list[Op]:
        return [WriteSysctl(HOST, self.key, self.value)]

    def update(self, before: Self) -> list[Op]:
        return self.create()

    def delete(self) -> list[Op]:
        return [WriteSysctl(HOST, self.key, self.original, True)]

    @classmethod
    def read(cls, dump: Dump) -> Iterator[Self]:
        for key, original in dump.originals.items():
            value = dump.sysctls.get((HOST, key), original)
            if value != original:
                yield cls(key, value, original)

    @classmethod
    def unsettled(cls, dump: Dump) -> Iterator[Name]:
        return iter(())

    def differs_from(self, before: Self) -> Iterator[str]:
        """The differences, for people."""
        return fields(before, self, {"value": ""})

    def __str__(self) -> str:
        return f"sysctl {self.key}"
