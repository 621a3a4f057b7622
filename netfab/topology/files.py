"""Which file a line is of, where one topology is written in several.

A tree keeps one number for its line, and there are hundreds of thousands of trees; so each file's lines count
on from a number of its own, as positions in go/token's FileSet do.
"""

from __future__ import annotations

from typing import Final

from netfab.errors import Location
from netfab.topology.tree import Tree

_BITS: Final = 23  # a file of topology.MAX_BYTES has fewer lines
LINE: Final = (1 << _BITS) - 1  # the bits of a tree's line that are the line in its file


class Files:
    """The files read, in order of inclusion; `--set` is one of them."""

    def __init__(self) -> None:
        self._known: list[tuple[str, str]] = []

    def add(self, file: str, directory: str) -> int:
        """The number at which this file's lines start. directory: absolute."""
        self._known.append((file, directory))
        return (len(self._known) - 1) << _BITS

    def at(self, tree: Tree, path: str) -> Location:
        """The place of a tree, for errors."""
        return Location(self._known[tree.line >> _BITS][0], tree.line & LINE, tree.column, path)

    def directory(self, tree: Tree) -> str:
        """The directory to which relative paths in that tree refer."""
        return self._known[tree.line >> _BITS][1]

    def in_order(self, at: Location | None) -> tuple[int, int, int]:
        """Sort key for places; those not in any file come first."""
        if at is None:
            return -1, 0, 0
        return [file for file, _ in self._known].index(at.file), at.line, at.column
