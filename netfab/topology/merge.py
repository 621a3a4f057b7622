"""`defaults`, `kinds` and ranges, on the tree: expands one entry of the file into the entries it stands for.

Knows which keys hold maps of names, and nothing else about keys.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Final

from netfab.topology.grammar import trailing_number
from netfab.topology.tree import Map, Scalar, Tree, any_text, map_text

# Keys whose maps merge by name, for so many levels: of a network that both name, the port keys merge too.
_LEVELS: Final[Mapping[str, int]] = {
    "networks": 2,
    "env": 1,
    "files": 1,
    "sysctls": 1,
    "vxlan": 1,
    "uplink": 1,
}


def merged(under: Map, over: Map) -> Map:
    """`over`'s keys on top of `under`'s: maps of names merge by name, lists and scalars are replaced."""
    if not under.values:
        return over
    values: dict[str, Tree] = {**under.values, **over.values}
    for key in under.values.keys() & over.values.keys() & _LEVELS.keys():
        values[key] = _merged(under.values[key], over.values[key], _LEVELS[key])
    return Map(values, {**under.keys, **over.keys}, over.line, over.column)


def _merged(under: Tree, over: Tree, levels: int) -> Tree:
    if levels and type(under) is Map and type(over) is Map:
        values = {**under.values, **over.values}
        for key in under.values.keys() & over.values.keys():
            values[key] = _merged(under.values[key], over.values[key], levels - 1)
        return Map(values, {**under.keys, **over.keys}, over.line, over.column)
    if levels and type(under) is Map and type(over) is Scalar and over.is_null:
        return under
    return over


def part(tree: Map, keys: Container[str]) -> Map:
    """Those entries of a map that have one of the keys."""
    found = [key for key in tree.values if key in keys]
    return Map(
        {key: tree.values[key] for key in found},
        {key: tree.keys[key] for key in found},
        tree.line,
        tree.column,
    )


def without(tree: Map, keys: Container[str]) -> Map:
    """The map less its entries that have one of the keys."""
    return part(tree, [key for key in tree.values if key not in keys])


def has_placeholder(tree: Tree) -> bool:
    """Whether `{n}` or `{node}` stands anywhere in it."""
    return any_text(tree, _is_template)


def _is_template(text: str) -> bool:
    return "{n}" in text or "{node}" in text


def filled(text: str, name: str) -> str:
    """A text with `{node}` and `{n}`, the node's name and number, filled in."""
    if "{n" not in text:
        return text
    return text.replace("{node}", name).replace("{n}", str(trailing_number(name)))


def filled_tree(tree: Map, name: str) -> Map:
    """An entry of a range or a scale as one of its nodes has it."""
    result = map_text(tree, lambda text: filled(text, name))
    assert type(result) is Map
    return result
