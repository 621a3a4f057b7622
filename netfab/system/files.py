"""Files: public directories, holes in a file's head, being told of changes (fallocate(2), inotify(7)).

Small commands need the first only: ctypes is imported by what calls the C library.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from errno import EINVAL, ENOTDIR

IN_MODIFY = 0x2  # linux/inotify.h
IN_CLOSE = 0x8 | 0x10  # of a file that was open for writing, and of others
IN_MOVED_TO = 0x80
IN_CREATE, IN_DELETE = 0x100, 0x200

_FALLOC_FL_KEEP_SIZE = 0x1
_FALLOC_FL_PUNCH_HOLE = 0x2


def public_directory(path: str) -> None:
    """Create a directory and its parents, readable by everybody, whatever this process's umask.

    Raises OSError; NotADirectoryError if something else is there.
    """
    above = os.path.dirname(os.path.abspath(path))
    while not os.path.isdir(path):  # others may remove them, when they are empty, at any time
        public_directory(above)
        try:
            os.mkdir(path)
        except FileExistsError:
            _refuse_no_directory(path)
        except FileNotFoundError:
            if os.path.isdir(above):  # nobody can create any there
                raise
        else:
            with suppress(FileNotFoundError):
                os.chmod(path, 0o755)


def _refuse_no_directory(path: str) -> None:
    with suppress(FileNotFoundError):
        if not stat.S_ISDIR(os.lstat(path).st_mode) and not os.path.isdir(path):
            raise NotADirectoryError(ENOTDIR, os.strerror(ENOTDIR), path)


def read_of_others(path: str, most: int = 1 << 20) -> bytes:
    """The first `most` bytes of a plain file that others write; does not block on a pipe or device there.

    Raises OSError.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(EINVAL, "not a regular file", path)
        found = b""
        while len(found) < most and (more := os.read(fd, most - len(found))):
            found += more
        return found
    finally:
        os.close(fd)


def is_at(fd: int, path: str) -> bool:
    """Whether an open file is still the one at the path."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(fd), os.stat(path))
    return False


def sync_filesystem(fd: int) -> None:
    """Return when all data of an open file's file system is on disk; syncfs(2)."""
    from netfab.system.libc import checked, libc

    checked(libc.syncfs(fd))


def punch_hole(fd: int, length: int) -> None:
    """Free the disk space of a file's first `length` bytes; offsets and size stay."""
    import ctypes

    from netfab.system.libc import checked, libc

    mode = _FALLOC_FL_PUNCH_HOLE | _FALLOC_FL_KEEP_SIZE
    checked(libc.fallocate(fd, mode, ctypes.c_long(0), ctypes.c_long(length)))


def watch_init() -> int:
    """A descriptor that becomes readable when something watched changes."""
    from netfab.system.libc import checked, libc

    return checked(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))


def watch(fd: int, path: str, events: int) -> None:
    """Watch a file or directory for IN_* events."""
    from netfab.system.libc import checked, libc

    checked(libc.inotify_add_watch(fd, os.fsencode(path), events), path)
