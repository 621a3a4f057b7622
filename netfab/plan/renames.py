"""Interfaces whose names move because something was written before them.

That is said, because programs know interfaces by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def renamed(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """A warning for each interface that keeps its network and changes its name.

    `before` and `after` are the `nodes` of two summaries.
    """
    for node, now in after.items():
        if node not in before:
            continue
        was = {interface["network"]: interface["name"] for interface in before[node]["interfaces"]}
        for interface in now["interfaces"]:
            old = was.get(interface["network"], interface["name"])
            if old != interface["name"]:
                yield (
                    f"{old} of {node}, on {interface['network']}, becomes {interface['name']}: "
                    f"append new networks, or give it `name: {old}`"
                )
