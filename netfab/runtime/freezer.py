"""Pausing a container: all of its processes halt where they are, by the cgroup freezer of either version.

A v2 leaf can always be frozen. Where only version 1 is mounted, a leaf in its freezer hierarchy is made for
the first pause, and all processes of the container move there.
"""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress

from netfab.errors import NetfabError, Unsupported
from netfab.runtime.cgroups import Hierarchies, Leaf, existing_leaves, make
from netfab.system.rest import rest

_PATIENCE = 10.0  # seconds, runc's: a process that waits for a disk or a processor freezes only after that
_GLANCE = 0.001  # seconds between two polls of v1's freezer, which sends no events


def freeze(name: str, pid: int, hierarchies: Hierarchies) -> None:
    """Freeze all of its processes; on return none runs. `pid`: the container's first process.

    Raises NetfabError if one does not freeze (all are thawed then), Unsupported if nothing can freeze them.
    """
    leaf = _leaf(name, hierarchies) or _new_leaf(name, pid, hierarchies)
    frozen = _freeze_v1(leaf) if leaf.controllers else _freeze_v2(leaf)
    if not frozen:
        thaw(name, hierarchies)
        raise NetfabError(f"{name} does not halt: one of its processes waits for the kernel")


def thaw(name: str, hierarchies: Hierarchies) -> None:
    """Thaw them."""
    if leaf := _leaf(name, hierarchies):
        file, word = ("freezer.state", "THAWED") if leaf.controllers else ("cgroup.freeze", "0")
        _write(leaf, file, word)


def thaw_all(hierarchies: Hierarchies) -> None:
    """Thaw every process in the caller's process namespace.

    A process frozen by v1 can't be killed, not even with its namespace, whose process 1 waits for it.
    """
    if "freezer" in hierarchies.v1:
        from glob import glob  # a supervisor needs it not and has no memory to spare

        point, controllers = hierarchies.v1["freezer"]
        for path in glob(f"{point}/netfab/*/*/"):
            leaf = Leaf(path, controllers)
            with suppress(FileNotFoundError):  # gone meanwhile
                if _read(leaf, "cgroup.procs"):  # leaves of other sandboxes list none
                    _write(leaf, "freezer.state", "THAWED")


def _leaf(name: str, hierarchies: Hierarchies) -> Leaf | None:
    """The leaf to freeze: v2's, or the one in the freezer's own hierarchy."""
    leaves = existing_leaves(name, hierarchies)
    return next((leaf for leaf in leaves if not leaf.controllers or "freezer" in leaf.controllers), None)


def _new_leaf(name: str, pid: int, hierarchies: Hierarchies) -> Leaf:
    if "freezer" not in hierarchies.v1:
        raise Unsupported(
            f"{name}: no writable cgroup hierarchy here can pause it",
            hint="run as root outside of a sandbox; `netfab kill -s STOP` halts one process",
        )
    point, controllers = hierarchies.v1["freezer"]
    leaf = Leaf(f"{point}/netfab/{hierarchies.group}/{name}", controllers)
    make(leaf)
    while missing := _processes_beside(pid) - set(_read(leaf, "cgroup.procs").split()):
        for one in missing:
            with suppress(ProcessLookupError):
                _write(leaf, "cgroup.procs", one)
    return leaf


def _processes_beside(pid: int) -> set[str]:
    """Every process in this one's process namespace: a container can't make another (seccomp.py)."""
    wanted, found = os.stat(f"/proc/{pid}/ns/pid").st_ino, set()
    for number in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError):  # gone; or more privileged than we are, and so not a container's
            if os.stat(f"/proc/{number}/ns/pid").st_ino == wanted:
                found.add(number)
    return found


def _freeze_v2(leaf: Leaf) -> bool:
    """cgroups(7): cgroup.events says `frozen 1`, and wakes pollers (POLLPRI), once all have stopped."""
    deadline = time.monotonic() + _PATIENCE
    with open(f"{leaf.path}/cgroup.events", encoding="utf-8") as events:
        poll = select.poll()
        poll.register(events, select.POLLPRI)
        _write(leaf, "cgroup.freeze", "1")
        while "frozen 1" not in events.read():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            poll.poll(left * 1000)
            events.seek(0)
    return True


def _freeze_v1(leaf: Leaf) -> bool:
    """freezer-subsystem.rst: the state is FREEZING until all have stopped, and reading it updates it."""
    deadline = time.monotonic() + _PATIENCE
    while _read(leaf, "freezer.state") != "FROZEN\n":
        if time.monotonic() > deadline:
            return False
        _write(leaf, "freezer.state", "FROZEN")  # again, for processes forked meanwhile
        rest(_GLANCE)
    return True


def _read(leaf: Leaf, file: str) -> str:
    with open(f"{leaf.path}/{file}", encoding="utf-8") as opened:
        return opened.read()


def _write(leaf: Leaf, file: str, text: str) -> None:
    with open(f"{leaf.path}/{file}", "w", encoding="utf-8") as opened:
        opened.write(text)
