"""Namespaces and mounts by path: setns(2), unshare(2), ioctl_ns(2), mount(2), umount2(2).

Every function raises OSError with the errno that the kernel gave.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from netfab.system.libc import checked, libc

CLONE_FS = 0x00000200  # linux/sched.h
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 0x1  # linux/mount.h
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MS_SHARED = 0x100000
MNT_DETACH = 0x2

_NS_GET_NSTYPE = 0xB703  # linux/nsfs.h


def setns(fd: int, kind: int) -> None:
    """Enter the namespace behind `fd`; setns(2)."""
    checked(libc.setns(fd, kind))


def unshare(flags: int) -> None:
    """Move this thread into new namespaces; unshare(2)."""
    checked(libc.unshare(flags))


@contextmanager
def in_network(netns: int) -> Iterator[None]:
    """Run the block with this thread in that network namespace; a socket created there stays in it."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(netns, CLONE_NEWNET)
        try:
            yield
        finally:
            setns(home, CLONE_NEWNET)
    finally:
        os.close(home)


def namespace_kind(fd: int) -> int:
    """CLONE_NEWNET or another, of the namespace behind `fd`; ENOTTY if it is none; ioctl_ns(2)."""
    return fcntl.ioctl(fd, _NS_GET_NSTYPE)


def mount(source: str, target: str, fstype: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    checked(
        libc.mount(
            source.encode(),
            target.encode(),
            fstype.encode() or None,
            ctypes.c_ulong(flags),
            data.encode() or None,
        ),
        target,
    )


def umount(target: str, flags: int = MNT_DETACH) -> None:
    """umount2(2)."""
    checked(libc.umount2(target.encode(), flags), target)
