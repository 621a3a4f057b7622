"""The lock of a fabric: one command at a time changes it. flock(2), released when its holder has ended.

Programs that change the kernel for the holder inherit the lock: it is held until they have ended, too.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic

from netfab.errors import Locked, NetfabError
from netfab.system.descriptors import LOCKS
from netfab.system.files import is_at, public_directory

_SILENCE = 1.0  # seconds before a change of holder is reported: with many waiting, they change quickly


@contextmanager
def locked(path: str, timeout: float, waiting: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock at `path`; its file is removed with the lock.

    `waiting` gets the holder if it has to wait. Raises Locked after `timeout` seconds in all, however many
    held it meanwhile; NetfabError if the file can't be created.
    """
    fd = _acquire(path, timeout, waiting)
    LOCKS.add(fd)
    try:
        with suppress(OSError):  # a full disk: waiters see no holder, but can wait all the same
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()} {' '.join(sys.argv[1:])[:200]}".encode(errors="replace"), 0)
        yield
    finally:
        if is_at(fd, path):
            os.unlink(path)  # under the lock: a waiter sees that its file was replaced, and opens the new one
        LOCKS.discard(fd)
        os.close(fd)
        with suppress(OSError):  # not empty: other fabrics exist
            os.rmdir(os.path.dirname(path))


def _acquire(path: str, timeout: float, waiting: Callable[[str], None]) -> int:
    deadline, silent_until = monotonic() + timeout, 0.0
    while True:
        try:
            public_directory(os.path.dirname(path))
        except OSError as error:
            raise _no_lock(path, error) from error
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:
            continue  # the directory was just removed with its last file
        except OSError as error:
            raise _no_lock(path, error) from error
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(fd, 300, 0).decode(errors="replace") or "another command"
                if monotonic() >= silent_until:
                    waiting(holder)
                    silent_until = monotonic() + _SILENCE
                _flock_within(fd, deadline, holder)
            if is_at(fd, path):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _no_lock(path: str, error: OSError) -> NetfabError:
    return NetfabError(f"can't lock {path}: {error.strerror}")


def _flock_within(fd: int, deadline: float, holder: str) -> None:
    from netfab.system.flock import Expired, lock_within  # most commands need not wait

    try:
        lock_within(fd, deadline)
    except Expired:
        raise Locked(
            f"locked by {holder}", hint="it is released when that process ends; --lock-timeout waits longer"
        ) from None
