"""`stats`: resource usage of nodes' programs on this host."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from netfab.nodes.by_name import node_of
from netfab.runtime.cgroups import find_hierarchies
from netfab.runtime.paths import Paths
from netfab.runtime.status import status
from netfab.runtime.usage import Usage, usage_of
from netfab.system.rest import rest
from netfab.where import HERE, Where, need_root, records_of_any

Uses = Mapping[tuple[str, str], Usage]  # (fabric, node) -> usage


def stats(used: Callable[[], Uses], every: float = 1.0) -> Iterator[list[dict[str, Any]]]:
    """Resource usage of programs, periodically; CPU shares are over `every` seconds.

    In bytes, and per cent of one processor. Raises NetfabError.
    """
    before, then = used(), time.monotonic()
    if not before:
        yield []
    while True:
        rest(every)
        found, now = used(), time.monotonic()
        yield [
            _row(key, one, (one.cpu - before[key].cpu) / (now - then))
            for key, one in found.items()
            if key in before
        ]
        before, then = found, now


def usage(nodes: Iterable[str] | None = None, where: Where = HERE) -> dict[tuple[str, str], Usage]:
    """The usage of nodes' running programs; None: all on this host. Raises NetfabError."""
    need_root("stats")
    if nodes is None:
        wanted, fabrics = None, [one.name for one in records_of_any(where)]
    else:
        wanted = {(record.name, name) for record, name, _ in (node_of(node, where) for node in nodes)}
        fabrics = list(dict.fromkeys(fabric for fabric, _ in sorted(wanted)))
    found = {}
    for fabric in fabrics:
        paths = Paths(fabric, where.run, where.state)
        for name, one in status(paths).items():
            if one.pid and (wanted is None or (fabric, name) in wanted):
                with suppress(FileNotFoundError):  # the fabric is just being destroyed
                    found[fabric, name] = usage_of(one, find_hierarchies(paths))
    return found


def _row(key: tuple[str, str], one: Usage, share: float) -> dict[str, Any]:
    return {
        "fabric": key[0],
        "node": key[1],
        "cpu_percent": round(share * 100, 2),
        "memory": one.memory,
        "memory_limit": one.limit,
        "pids": one.pids,
        "received": one.received,
        "sent": one.sent,
    }
