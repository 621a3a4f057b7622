"""Simulated hosts in a sandbox: each has network and mount namespaces with private /run and /var/lib.

Every process of the sandbox finds them by name; they end with it. Their networks are nodes of the
underlay (plan/underlay.py); a process belongs to one only by having been started there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from netfab.hosts.sandbox import excursion, furnish
from netfab.kernel.netns import DIRECTORY as NETWORKS
from netfab.plan.underlay import NAME
from netfab.runtime.paths import SIMULATED_HOSTS as MOUNTS
from netfab.system import linux


def names() -> frozenset[str]:
    """The names of the simulated hosts in this sandbox."""
    return frozenset(os.listdir(MOUNTS)) if os.path.isdir(MOUNTS) else frozenset()


def begin(host: str) -> int:
    """Give a host of the underlay a mount namespace, which lasts until the returned descriptor is closed.

    Others find it through this process: bind-mounting a mount namespace, as network namespaces are, fails
    now and then (EINVAL; Linux 6.18). Raises OSError.
    """
    with excursion():
        _enter(f"{NETWORKS}/{NAME}.{host}", linux.CLONE_NEWNET)
        furnish()
        mounts = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    os.makedirs(MOUNTS, exist_ok=True)
    me = os.readlink("/proc/self")  # our PID in this /proc, whichever PID namespace that is of
    os.symlink(f"/proc/{me}/fd/{mounts}", f"{MOUNTS}/{host}")
    return mounts


def enter(host: str) -> None:
    """Move this single-threaded process into that host. Raises OSError."""
    directory = os.getcwd()
    _enter(f"{NETWORKS}/{NAME}.{host}", linux.CLONE_NEWNET)
    _enter(f"{MOUNTS}/{host}", linux.CLONE_NEWNS)
    with suppress(OSError):  # in /run or /var/lib, which are private there
        os.chdir(directory)


@contextmanager
def inside(host: str) -> Iterator[None]:
    """Within this, the thread is in that host; afterwards it is back where it was."""
    with excursion():
        enter(host)
        yield


def _enter(path: str, kind: int) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        linux.setns(fd, kind)
    finally:
        os.close(fd)
