"""`defaults`, `kinds` and ranges, on the tree: expands one entry of the file into the entries it stands for.

Knows which keys hold maps of names, and nothing else about keys.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Final

from netfab.topology.grammar import trailing_number
from netfab.topology.tree import Map, Scalar, Tree, any_text, map_text

# Keys whose maps merge by name, to that depth: a network that both have gets its port keys merged too.
_LEVELS: Final[Mapping[str, int]] = {
    "networks": 2,
    "env": 1,
    "files": 1,
    "sysctls": 1,
    "vxlan": 1,
    "uplink": 1,
}


def merged(under: Map, over: Map) -> Map:
    """`over`'s keys on top of `under`'s: maps by name merge, lists and scalars are replaced."""
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
    """The entries of a map with one of these keys."""
    found = [key for key in tree.values if key in keys]
    return Map(
        {key: tree.values[key] for key in found},
        {key: tree.keys[key] for key in found},
        tree.line,
        tree.column,
    )


def without(tree: Map, keys: Container[str]) -> Map:
    """The map without the entries with these keys."""
    return part(tree, [key for key in tree.values if key not in keys])


def has_placeholder(tree: Tree) -> bool:
    """Whether it contains `{n}` or `{node}` anywhere."""
    return any_text(tree, _is_template)


def _is_template(text: str) -> bool:
    return "{n}" in text or "{node}" in text


def filled(text: str, name: str) -> str:
    """A text with `{node}` and `{n}` replaced by the node's name and number."""
    if "{n" not in text:
        return text
    return text.replace("{node}", name).replace("{n}", str(trailing_number(name)))


def filled_tree(tree: Map, name: str) -> Map:
    """An entry of a range or a scale, filled in for one of its nodes."""
    result = map_text(tree, lambda text: filled(text, name))
    assert type(result) is Map
    return result
