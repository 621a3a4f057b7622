"""Which processes are in the network namespaces of nodes. Only reads."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from netfab.kernel.netns import DIRECTORY
from netfab.tuples import NamedTuple


class Inhabitant(NamedTuple):
    """A process in a namespace that has, or had, a name."""

    pid: int
    name: str  # of the namespace: shop.web
    inode: int

    @property
    def stays(self) -> bool:
        """Whether it still runs, and so keeps the namespace."""
        return _inode(f"/proc/{self.pid}/ns/net") == self.inode


def inhabitants(fabric: str) -> list[Inhabitant]:
    """Those of the fabric's nodes. If all processes are in our own network namespace, none other is read."""
    own = _inode("/proc/self/ns/net")
    away = {
        int(pid): inode
        for pid in os.listdir("/proc")
        if pid.isdecimal() and (inode := _inode(f"/proc/{pid}/ns/net")) not in (0, own)
    }
    names = {_inode(f"{DIRECTORY}/{name}"): name for name in _names(fabric)} if away else {}
    return [Inhabitant(pid, names[inode], inode) for pid, inode in sorted(away.items()) if inode in names]


def _names(fabric: str) -> Iterable[str]:
    with suppress(FileNotFoundError):
        return [name for name in os.listdir(DIRECTORY) if name.startswith(f"{fabric}.")]
    return ()


def _inode(path: str) -> int:
    """The file's inode; 0 if there is none, or none that we may see."""
    with suppress(OSError):
        return os.stat(path).st_ino
    return 0
