"""File: a small text file below the fabric's run directory, such as the hosts file of its nodes."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Self

from netfab.objects.base import Dump, Name, Op
from netfab.objects.difference import changed
from netfab.objects.ops import RemoveFile, WriteFile
from netfab.tuples import NamedTuple


class File(NamedTuple):
    """A whole file. It is ours by its place: below /run/netfab/<fabric>/."""

    path: str
    content: str
    mode: int = 0o644

    @property
    def for_peers(self) -> bool:
        """It holds the names of other nodes: programs know them before those exist."""
        return True

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
        return (Name("file", self.path),)

    def create(self) -> list[Op]:
        return [WriteFile(self.path, self.mode, self.content)]

    def update(self, before: Self) -> list[Op]:
        return self.create()

    def delete(self) -> list[Op]:
        return [RemoveFile(self.path)]

    @classmethod
    def read(cls, dump: Dump) -> Iterator[Self]:
        for path, (mode, content) in dump.files.items():
            yield cls(path, content, mode)

    @classmethod
    def unsettled(cls, dump: Dump) -> Iterator[Name]:
        return iter(())

    def differs_from(self, before: Self) -> Iterator[str]:
        """The differences, for people."""
        if self.mode != before.mode:
            yield changed("mode", f"{before.mode:o}", f"{self.mode:o}")
        if self.content != before.content:
            yield "content"

    def __str__(self) -> str:
        return f"file {self.path}"
