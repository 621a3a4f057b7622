"""Hearing of files that come and go in a directory: inotify(7)."""

from __future__ import annotations

import os

from netfab.system.libc import checked, libc

IN_CREATE, IN_DELETE, IN_MOVED_TO = 0x100, 0x200, 0x80  # linux/inotify.h


def inotify() -> int:
    """A file descriptor that is readable when something happened; the caller closes it."""
    return int(checked(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)))


def watch(fd: int, directory: str) -> None:
    """Hear of what comes and goes there. Raises OSError."""
    checked(libc.inotify_add_watch(fd, directory.encode(), IN_CREATE | IN_DELETE | IN_MOVED_TO), directory)
