"""Waiting for a lock of flock(2) with a limit; only the main thread can be woken from that call."""

from __future__ import annotations

import _signal as signal  # `signal` takes 0.5 ms
import fcntl
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from netfab.system.files import IN_CLOSE, watch, watch_init
from netfab.system.rest import rest

_AGAIN = 0.05  # seconds between two checks, and between two signals to a thread that waits too long
_EVENTS = 1 << 16  # bytes


class Expired(Exception):
    """Somebody else held the lock until the deadline."""


def lock_within(fd: int, deadline: float) -> None:
    """Take that lock exclusively. Raises Expired.

    The main thread blocks in flock(2), where waiters are queued; another thread watches the deadline.
    """

    def expired() -> None:
        if monotonic() > deadline:
            raise Expired

    if threading.current_thread() is not threading.main_thread():
        wait_for(fd, fcntl.LOCK_EX, expired)
        return
    waiting = True

    def woken(*_: object) -> None:
        if waiting and not got(fd, fcntl.LOCK_EX):  # it may have become free while we were not scheduled
            raise Expired

    before, began, alarm = signal.signal(signal.SIGALRM, woken), monotonic(), (0.0, 0.0)
    try:
        # Repeatedly: a signal just before the call begins does not interrupt it.
        alarm = signal.setitimer(signal.ITIMER_REAL, max(deadline - began, 0.001), _AGAIN)
        fcntl.flock(fd, fcntl.LOCK_EX)
    finally:
        waiting = False  # nothing is raised here, which would leave the timer running
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if alarm[0]:  # our caller's, as of a test that may not take longer
            signal.setitimer(signal.ITIMER_REAL, max(alarm[0] - (monotonic() - began), 0.001), alarm[1])


def wait_for(fd: int, kind: int, check: Callable[[], None]) -> None:
    """Take that lock (LOCK_SH, LOCK_EX); `check`, which may raise, is called now and then."""
    if got(fd, kind):
        return
    closed = watch_init()  # a lock is released by closing its file
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
    """Take the lock without waiting; whether that succeeded."""
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
