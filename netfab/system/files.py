"""Files: public directories, holes in a file's head, being told of changes (fallocate(2), inotify(7))."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from errno import ENOTDIR

from netfab.system.libc import checked, libc

IN_MODIFY = 0x2  # linux/inotify.h
IN_MOVED_TO = 0x80

_FALLOC_FL_KEEP_SIZE = 0x1
_FALLOC_FL_PUNCH_HOLE = 0x2


def public_directory(path: str) -> None:
    """Make a directory, and those above it, that everybody may read, whatever this process's umask.

    Raises OSError; NotADirectoryError for what is there and is none.
    """
    if not os.path.isdir(path):
        public_directory(os.path.dirname(os.path.abspath(path)))
        with suppress(FileExistsError):
            os.mkdir(path)
            os.chmod(path, 0o755)
        if not os.path.isdir(path):
            raise NotADirectoryError(ENOTDIR, os.strerror(ENOTDIR), path)


def punch_hole(fd: int, length: int) -> None:
    """Give the first `length` bytes of a file back to the disk; offsets and size stay."""
    mode = _FALLOC_FL_PUNCH_HOLE | _FALLOC_FL_KEEP_SIZE
    checked(libc.fallocate(fd, mode, ctypes.c_long(0), ctypes.c_long(length)))


def watch_init() -> int:
    """A descriptor that becomes readable when something that is watched changes."""
    return checked(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))


def watch(fd: int, path: str, events: int) -> None:
    """Watch a file or directory for IN_* events."""
    checked(libc.inotify_add_watch(fd, os.fsencode(path), events), path)
