"""Supervisor: the one process that is parent to all programs of a fabric."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Self

from netfab.objects.base import EVERY, Dump, Name, Op
from netfab.objects.ops import WakeSupervisor
from netfab.tuples import NamedTuple


class Supervisor(NamedTuple):
    """It runs as long as there are programs: it starts with the first and ends with the last by itself.

    Creating one here starts the successor of a killed one: it adopts the programs, which keep running.
    """

    fabric: str

    @property
    def fixed(self) -> Hashable:
        return ()

    @property
    def names(self) -> tuple[Name, ...]:
        return (Name("supervisor", self.fabric),)

    @property
    def needs(self) -> tuple[Name, ...]:
        return ()

    @property
    def after(self) -> tuple[Name, ...]:
        return (Name("container", EVERY),)

    @property
    def within(self) -> tuple[Name, ...]:
        return ()

    def create(self) -> list[Op]:
        return [WakeSupervisor(self.fabric)]

    def update(self, before: Self) -> list[Op]:
        return []

    def delete(self) -> list[Op]:
        return []

    @classmethod
    def read(cls, dump: Dump) -> Iterator[Self]:
        if dump.supervised:
            yield cls(dump.fabric)

    @classmethod
    def unsettled(cls, dump: Dump) -> Iterator[Name]:
        return iter(())

    def __str__(self) -> str:
        return f"supervisor of {self.fabric}"
