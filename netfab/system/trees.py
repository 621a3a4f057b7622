"""Directory trees that a guest has filled: making directories in them, and removing them.

Nothing leads out of them: what is opened is opened below a descriptor of the root. What is removed is removed
through descriptors of directories; however deep a guest has nested them, no path grows long and no recursion
deep.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from itertools import count

from netfab.system.mounts import (
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    open_below,
)

IN_ROOT = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS  # symlinks stay inside the root
STRICT = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS

_PLACE = os.O_PATH | os.O_DIRECTORY
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def make_directories(root: int, path: str) -> int:
    """mkdir -p inside the root; an O_PATH descriptor of the last directory. Raises OSError."""
    here = open_below(root, ".", _PLACE, IN_ROOT)
    parts = [part for part in path.split("/") if part]
    for end, name in enumerate(parts, 1):
        try:
            following = _opened_or_made(root, "/".join(parts[:end]), here, name)
        finally:
            os.close(here)
        here = following
    return here


def _opened_or_made(root: int, path: str, parent: int, name: str) -> int:
    try:
        return open_below(root, path, _PLACE, IN_ROOT)
    except FileNotFoundError:
        os.mkdir(name, 0o755, dir_fd=parent)
        return open_below(parent, name, _PLACE, STRICT)


def remove_at(directory: int, name: str) -> None:
    """Remove a file, or a directory and all that is in it."""
    try:
        os.unlink(name, dir_fd=directory)
    except IsADirectoryError:
        remove_tree(name, directory)


def remove_tree(path: str, directory: int | None = None) -> None:
    """rm -rf; fine if there is nothing."""
    try:
        top = os.open(path, _DIRECTORY, dir_fd=directory)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        fresh = _names_of_our_own()
        while directories := _unlink_files(top):
            for name in directories:
                _lift_directories(top, name, fresh)
                os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(path, dir_fd=directory)


def _names_of_our_own() -> Iterator[str]:
    """Random names, so that no guest can have taken one."""
    run = os.urandom(8).hex()
    return (f"{run}-{number}" for number in count())


def _unlink_files(directory: int) -> list[str]:
    """Remove everything except directories; the names of these."""
    directories = []
    for name in os.listdir(directory):
        if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            directories.append(name)
        else:
            os.unlink(name, dir_fd=directory)
    return directories


def _lift_directories(top: int, name: str, fresh: Iterator[str]) -> None:
    """Empty a directory: delete its files, and move its directories up to the top, to be handled later."""
    os.chmod(name, 0o700, dir_fd=top)
    fd = os.open(name, _DIRECTORY, dir_fd=top)
    try:
        for below in _unlink_files(fd):
            os.chmod(below, 0o700, dir_fd=fd)
            os.rename(below, next(fresh), src_dir_fd=fd, dst_dir_fd=top)
    finally:
        os.close(fd)
