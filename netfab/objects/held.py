"""HeldPorts: the published ports of the host, kept from every other program by the fabric's supervisor.

What arrives for a published port goes to its node before it comes to any socket: a program that could still
bind the port would hear nothing, and not know why.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Self

from netfab.objects.base import Dump, Name, Op
from netfab.objects.ops import HoldPorts, ReleasePorts
from netfab.tuples import NamedTuple


class HeldPorts(NamedTuple):
    """All of a fabric's, PROTOCOL/ADDRESS/NUMBER each, sorted; the address of "all" is 0.0.0.0 or ::.

    Empty if the supervisor that held them was killed.
    """

    fabric: str
    ports: tuple[str, ...] = ()

    @property
    def fixed(self) -> Hashable:
        return ()

    @property
    def names(self) -> tuple[Name, ...]:
        return (Name("held ports", self.fabric),)

    @property
    def needs(self) -> tuple[Name, ...]:
        return ()

    @property
    def after(self) -> tuple[Name, ...]:
        return ()

    @property
    def within(self) -> tuple[Name, ...]:
        return ()

    def create(self) -> list[Op]:
        return [HoldPorts(self.fabric, self.ports)]

    def update(self, before: Self) -> list[Op]:
        return self.create()

    def delete(self) -> list[Op]:
        return [ReleasePorts(self.fabric)]

    @classmethod
    def read(cls, dump: Dump) -> Iterator[Self]:
        if dump.held is not None:
            yield cls(dump.fabric, tuple(dump.held))

    @classmethod
    def unsettled(cls, dump: Dump) -> Iterator[Name]:
        return iter(())

    def __str__(self) -> str:
        return f"ports held for {self.fabric}"
