"""Replacing files atomically; rename(2). Without ctypes, for small commands.

A file is written beside its destination first. A killed process may leave that name behind: the next one
removes it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper

_BESIDE = ".new"


@contextmanager
def replacing(path: str, mode: int = 0o600, beside: str = _BESIDE) -> Iterator[TextIOWrapper]:
    """A file to write; on success it replaces `path`, complete except for a power cut. Raises OSError.

    One process at a time, or each with its own `beside`, the suffix of the temporary name.
    """
    new = path + beside
    try:
        with _opened(new, mode) as file:
            yield file
        os.rename(new, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(new)
        raise


def replace_file(path: str, text: str) -> None:
    """Write a private file completely or not at all, except for a power cut. Raises OSError.

    Like `replacing`, in half the time: starting a thousand containers does so three thousand times.
    """
    new = path + _BESIDE
    try:
        fd = _created(new, 0o600)
        try:
            left = memoryview(text.encode())
            while left:
                left = left[os.write(fd, left) :]
        finally:
            os.close(fd)
        os.rename(new, path)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(new)
        if isinstance(error, OSError) and error.filename is None:  # write(2) knows no path
            error.filename = path
        raise


def replace_for_good(path: str, text: str, beside: str = _BESIDE) -> None:
    """The same even with a power cut: on return it is on disk. Raises OSError."""
    with replacing(path, beside=beside) as file:
        _write_out(file, text)
    _sync_directory(os.path.dirname(path))


def create_for_good(path: str, text: str, beside: str) -> None:
    """The same, but keeps an existing file. Raises OSError."""
    new = path + beside
    try:
        with _opened(new, 0o600) as file:
            _write_out(file, text)
        with suppress(FileExistsError):
            os.link(new, path)
    finally:
        with suppress(OSError):
            os.unlink(new)
    _sync_directory(os.path.dirname(path))


def _opened(path: str, mode: int) -> TextIOWrapper:
    return os.fdopen(_created(path, mode), "w", encoding="utf-8")


def _created(path: str, mode: int) -> int:
    """Create a file of that mode, whatever this process's umask; never reuses one of another user."""
    with suppress(FileNotFoundError):
        os.unlink(path)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    os.fchmod(fd, mode)
    return fd


def _write_out(file: TextIOWrapper, text: str) -> None:
    file.write(text)
    file.flush()
    os.fsync(file.fileno())


def _sync_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
