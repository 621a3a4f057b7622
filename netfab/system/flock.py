"""Waiting for a lock of flock(2) with a limit, in any thread: none can be woken from that call."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from contextlib import suppress

from netfab.system.files import IN_CLOSE, watch, watch_init
from netfab.system.rest import rest

_AGAIN = 0.05  # seconds between two checks
_EVENTS = 1 << 16  # bytes


def wait_for(fd: int, kind: int, check: Callable[[], None]) -> None:
    """Hold that lock (LOCK_SH, LOCK_EX); `check`, which may raise, is called now and then."""
    if got(fd, kind):
        return
    closed = watch_init()  # a lock is let go of by closing its file
    try:
        watch(closed, f"/proc/self/fd/{fd}", IN_CLOSE)
        while not got(fd, kind):
            check()
            rest(_AGAIN, [closed])
            with suppress(BlockingIOError):
                os.read(closed, _EVENTS)
    finally:
        os.close(closed)


def got(fd: int, kind: int) -> bool:
    """Whether the lock is held now; nobody is waited for."""
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
