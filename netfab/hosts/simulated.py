"""Simulated hosts: each a network and mounts of its own, with private /run and /var/lib, in a sandbox.

They are found by name by every process of the sandbox, and end with it. Their networks are nodes of the
underlay (plan/underlay.py); what runs in one has no other tie to it than where it was started.
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
    """The simulated hosts that there are here."""
    return frozenset(os.listdir(MOUNTS)) if os.path.isdir(MOUNTS) else frozenset()


def begin(host: str) -> int:
    """Give a host of the underlay mounts of its own, which last until the descriptor returned is closed.

    Others find them by way of this process: bound to a path, as networks are, a mount namespace is refused
    now and then (EINVAL; Linux 6.18). Raises OSError.
    """
    with excursion():
        _enter(f"{NETWORKS}/{NAME}.{host}", linux.CLONE_NEWNET)
        furnish()
        mounts = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    os.makedirs(MOUNTS, exist_ok=True)
    me = os.readlink("/proc/self")  # as this /proc has it, be it of which process namespace
    os.symlink(f"/proc/{me}/fd/{mounts}", f"{MOUNTS}/{host}")
    return mounts


def enter(host: str) -> None:
    """This process, which has one thread, in that host. Raises OSError."""
    directory = os.getcwd()
    _enter(f"{NETWORKS}/{NAME}.{host}", linux.CLONE_NEWNET)
    _enter(f"{MOUNTS}/{host}", linux.CLONE_NEWNS)
    with suppress(OSError):  # it is private there: /run or /var/lib
        os.chdir(directory)


@contextmanager
def inside(host: str) -> Iterator[None]:
    """This thread in that host, and back where it was afterwards."""
    with excursion():
        enter(host)
        yield


def _enter(path: str, kind: int) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        linux.setns(fd, kind)
    finally:
        os.close(fd)
