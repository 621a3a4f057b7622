"""Long texts of objects, written once: hosts files of a thousand nodes on one network are the same.

Each node has a file of its own nevertheless (plan/hosts.py says why), so all of them together would be
megabytes, and grow with the square of the nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

_LONG = 256  # characters

Fields = Sequence[Any]
Places = Sequence[tuple[int, int]]  # index of a field, and the number of its text


def taken_out(fields: Fields, texts: dict[str, int]) -> tuple[Fields] | tuple[Fields, Places]:
    """The fields without long texts, and the places of these, which are numbered in `texts`."""
    places = [
        (place, texts.setdefault(field, len(texts)))
        for place, field in enumerate(fields)
        if type(field) is str and len(field) > _LONG
    ]
    if not places:
        return (fields,)
    left = list(fields)
    for place, _ in places:
        left[place] = None
    return left, places


def put_back(fields: list[Any], taken: Iterable[Places], texts: Sequence[str]) -> list[Any]:
    """The inverse. Raises TypeError, ValueError or LookupError for anything not from `taken_out`."""
    for places in taken:
        for place, number in places:
            fields[place] = texts[number]
    return fields
