"""What YAML says, before any key has a meaning: scalars as typed, lists and maps, with their places.

A line counts on from a number of its file's own (files.py).

Slotted classes, not tuples: these are made by the hundred thousand and never compared.
"""

from __future__ import annotations

from collections.abc import Callable


class Scalar:
    """A text. plain: unquoted and not interpolated, so that `null` means null."""

    __slots__ = ("column", "line", "plain", "text")

    def __init__(self, text: str, plain: bool, line: int, column: int) -> None:
        self.text, self.plain, self.line, self.column = text, plain, line, column

    @property
    def is_null(self) -> bool:
        """Whether the value is empty: YAML has four ways to say so."""
        return self.plain and self.text in ("", "~", "null", "Null", "NULL")


class Sequence:
    """A list."""

    __slots__ = ("column", "items", "line")

    def __init__(self, items: list[Tree], line: int, column: int) -> None:
        self.items, self.line, self.column = items, line, column


class Map:
    """A map: its values by key in written order, and the places of the keys."""

    __slots__ = ("column", "keys", "line", "values")

    def __init__(self, values: dict[str, Tree], keys: dict[str, Scalar], line: int, column: int) -> None:
        self.values, self.keys, self.line, self.column = values, keys, line, column


Tree = Scalar | Sequence | Map


def weight(tree: Tree) -> int:
    """The number of scalars, lists and maps in it, itself included; repeated by an alias, each time."""
    if type(tree) is Sequence:
        return 1 + sum(map(weight, tree.items))
    if type(tree) is Map:
        return 1 + sum(map(weight, tree.values.values()))
    return 1


def any_text(tree: Tree, test: Callable[[str], bool]) -> bool:
    """Whether a scalar or a key passes the test."""
    if type(tree) is Scalar:
        return test(tree.text)
    if type(tree) is Sequence:
        return any(any_text(item, test) for item in tree.items)
    assert type(tree) is Map
    return any(map(test, tree.values)) or any(any_text(value, test) for value in tree.values.values())


def map_text(tree: Tree, change: Callable[[str], str]) -> Tree:
    """The tree with every scalar and key mapped; if two keys become equal, the last wins."""
    if type(tree) is Scalar:
        return Scalar(change(tree.text), tree.plain, tree.line, tree.column)
    if type(tree) is Sequence:
        return Sequence([map_text(item, change) for item in tree.items], tree.line, tree.column)
    assert type(tree) is Map
    return Map(
        {change(key): map_text(value, change) for key, value in tree.values.items()},
        {change(key): place for key, place in tree.keys.items()},
        tree.line,
        tree.column,
    )
