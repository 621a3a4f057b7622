"""Which file a line is of, where one topology is written in several.

A tree keeps one number for its line, and there are hundreds of thousands of trees; so each file's lines count
on from a number of its own, as positions in go/token's FileSet do.
"""

from __future__ import annotations

from typing import Final

from netfab.errors import Location
from netfab.topology.tree import Tree

_BITS: Final = 23  # a file of topology.MAX_BYTES has fewer lines
LINE: Final = (1 << _BITS) - 1  # what of a tree's line is the line in its file


class Files:
    """The files that are read, in the order in which they are named; `--set` is one of them."""

    def __init__(self) -> None:
        self._known: list[tuple[str, str]] = []

    def add(self, file: str, directory: str) -> int:
        """The number that the lines of this file count on from. directory: absolute."""
        self._known.append((file, directory))
        return (len(self._known) - 1) << _BITS

    def at(self, tree: Tree, path: str) -> Location:
        """The place of a tree, as errors name it."""
        return Location(self._known[tree.line >> _BITS][0], tree.line & LINE, tree.column, path)

    def directory(self, tree: Tree) -> str:
        """From where a relative path is taken that stands there."""
        return self._known[tree.line >> _BITS][1]

    def in_order(self, at: Location | None) -> tuple[int, int, int]:
        """What places are sorted by; what is nowhere comes first."""
        if at is None:
            return -1, 0, 0
        return [file for file, _ in self._known].index(at.file), at.line, at.column
