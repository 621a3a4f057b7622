"""Removing directory trees that a guest has filled.

Nothing is followed: names are removed through descriptors of their directories, and however deep a guest has
nested directories, no path grows long and no recursion deep.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from itertools import count

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: str) -> None:
    """rm -rf; fine where there is nothing."""
    try:
        top = os.open(path, _DIRECTORY)
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
    os.rmdir(path)


def _names_of_our_own() -> Iterator[str]:
    """Random, so that no guest can have taken one."""
    run = os.urandom(8).hex()
    return (f"{run}-{number}" for number in count())


def _unlink_files(directory: int) -> list[str]:
    """Remove what is no directory; the names of those that are."""
    directories = []
    for name in os.listdir(directory):
        if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            directories.append(name)
        else:
            os.unlink(name, dir_fd=directory)
    return directories


def _lift_directories(top: int, name: str, fresh: Iterator[str]) -> None:
    """Empty a directory: its files go, its directories move up to the top, where they wait for their turn."""
    os.chmod(name, 0o700, dir_fd=top)
    fd = os.open(name, _DIRECTORY, dir_fd=top)
    try:
        for below in _unlink_files(fd):
            os.chmod(below, 0o700, dir_fd=fd)
            os.rename(below, next(fresh), src_dir_fd=fd, dst_dir_fd=top)
    finally:
        os.close(fd)
