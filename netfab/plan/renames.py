"""Interfaces whose names shift because something was inserted before them.

Users are warned, because programs know interfaces by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def renamed(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """A warning for each interface that changes its name on the same network.

    `before` and `after` are the `nodes` of two summaries.
    """
    for node, now in after.items():
        if node not in before:
            continue
        was = _places(before[node]["interfaces"])
        for place, name in _places(now["interfaces"]).items():
            old = was.get(place, name)
            if old != name:
                network, _ = place
                yield (
                    f"{old} of {node}, on {network}, becomes {name}: "
                    f"append new networks, or give it `name: {old}`"
                )


def _places(interfaces: Iterable[Mapping[str, Any]]) -> dict[tuple[str, int], str]:
    """The names of the first, second … interface on each network."""
    joined: Counter[str] = Counter()
    found = {}
    for interface in interfaces:
        network = interface["network"]
        joined[network] += 1
        found[network, joined[network]] = interface["name"]
    return found
