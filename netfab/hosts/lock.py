"""The lock of a fabric: one command at a time changes it. flock(2), released when its holder has ended.

So have the programs that change the kernel for the holder: they inherit the lock.
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

_SILENCE = 1.0  # seconds until who waits is told of another holder: where many wait, they change quickly


@contextmanager
def locked(path: str, timeout: float, waiting: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock at `path`; its file is removed with the lock.

    `waiting` is told the holder when it must wait. Raises Locked after `timeout` seconds in all, however many
    held it meanwhile; NetfabError where the file can't be made.
    """
    fd = _acquire(path, timeout, waiting)
    LOCKS.add(fd)
    try:
        with suppress(OSError):  # a full disk: who waits is told less, and may wait all the same
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()} {' '.join(sys.argv[1:])[:200]}".encode(errors="replace"), 0)
        yield
    finally:
        if is_at(fd, path):
            os.unlink(path)  # under the lock: who waits sees that its file is another one, and opens that
        LOCKS.discard(fd)
        os.close(fd)
        with suppress(OSError):  # not empty: other fabrics are there
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
            continue  # the directory was removed with its last file, just now
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
    from netfab.system.flock import Expired, lock_within  # most commands wait for nobody

    try:
        lock_within(fd, deadline)
    except Expired:
        raise Locked(
            f"locked by {holder}", hint="it is released when that process ends; --lock-timeout waits longer"
        ) from None
