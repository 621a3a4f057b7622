"""What is read and copied of programs that run, by the names of their nodes: `stats` and `cp`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

from netfab.errors import NetfabError
from netfab.nodes import node_of
from netfab.runtime.cgroups import find_hierarchies
from netfab.runtime.copying import copy, in_container, on_host, place_in_container, place_on_host
from netfab.runtime.paths import Paths
from netfab.runtime.record import read_record
from netfab.runtime.status import status, status_of
from netfab.runtime.usage import Usage, usage_of
from netfab.where import HERE, Where, need_root, records

Uses = Mapping[tuple[str, str], Usage]  # by fabric and node
_ROOT = (0, 0)


def stats(used: Callable[[], Uses], every: float = 1.0) -> Iterator[list[dict[str, Any]]]:
    """What programs use, again and again; shares are of `every` seconds.

    Bytes, and per cent of one processor. Raises NetfabError.
    """
    before, then = used(), time.monotonic()
    if not before:
        yield []
    while True:
        time.sleep(every)
        found, now = used(), time.monotonic()
        yield [
            _row(key, one, (one.cpu - before[key].cpu) / (now - then))
            for key, one in found.items()
            if key in before
        ]
        before, then = found, now


def usage(nodes: Iterable[str] | None = None, where: Where = HERE) -> dict[tuple[str, str], Usage]:
    """What the programs of nodes use, of those that run; None: all of this host. Raises NetfabError."""
    need_root("stats")
    if nodes is None:
        wanted, fabrics = None, [one.name for one in records(where)]
    else:
        wanted = {(record.name, name) for record, name, _ in (node_of(node, where) for node in nodes)}
        fabrics = list(dict.fromkeys(fabric for fabric, _ in sorted(wanted)))
    found = {}
    for fabric in fabrics:
        paths = Paths(fabric, where.run, where.state)
        for name, one in status(paths).items():
            if one.pid and (wanted is None or (fabric, name) in wanted):
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


def copy_out(node: str, path: str, target: str, where: Where = HERE) -> list[str]:
    """Copy from a node's program's files to this host's, as the caller's own.

    The names of what is no file, directory or link, and was left out. Raises NetfabError.
    """
    with ExitStack() as closing:
        root = _root_of(node, where, closing)
        try:
            source = in_container(root, path, closing)
            return copy(source, place_on_host(target, source.name, closing), None)
        except OSError as error:
            raise _told(error, f"{node}:{path}", target) from error


def copy_in(source: str, node: str, path: str, where: Where = HERE) -> list[str]:
    """Copy files of this host to those of a node's program, as its root's.

    The names of what was left out. Raises NetfabError.
    """
    with ExitStack() as closing:
        root = _root_of(node, where, closing)
        try:
            found = on_host(source, closing)
            return copy(found, place_in_container(root, path, found.name, closing), _ROOT)
        except OSError as error:
            raise _told(error, source, f"{node}:{path}") from error


def _told(error: OSError, source: str, target: str) -> NetfabError:
    about = f" ({error.filename})" if isinstance(error.filename, str) else ""
    return NetfabError(f"{source} to {target}: {error.strerror}{about}")


def _root_of(node: str, where: Where, closing: ExitStack) -> int:
    """The root of what a node's program sees, open; while it runs."""
    need_root("cp")
    record, name, _ = node_of(node, where)
    paths = Paths(record.name, where.run, where.state)
    found = status_of(paths, name)
    if found is None or not found.pid:
        raise NetfabError(
            f"{node} does not run, and so has no files that could be seen", hint=f"netfab start {node}"
        )
    root = os.open(f"/proc/{found.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    closing.callback(os.close, root)
    known = read_record(paths.record(name))
    if known is None or known.pid != found.pid or not known.lives:
        raise NetfabError(f"{node} has just ended")
    return root
