"""Who may do what to a host's images at the same time: flock(2), gone with the process that holds it.

Images are brought and used by many at once, each holding the lock shared; who removes some holds it alone.
What two would write at once (a blob, a layer) has a lock of its own: the file or directory itself.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from netfab.errors import Locked, NetfabError
from netfab.images.layout import Layout
from netfab.system.files import IN_CLOSE, watch, watch_init
from netfab.system.rest import rest

if TYPE_CHECKING:
    from netfab.images import Place

_AGAIN = 0.05  # seconds between two checks; a thread can't be woken from flock(2)
_EVENTS = 1 << 16  # bytes


@contextmanager
def using(place: Place) -> Iterator[Layout]:
    """Nobody removes an image meanwhile. Raises Locked, NetfabError."""
    with _held(place, fcntl.LOCK_SH) as layout:
        yield layout


@contextmanager
def alone(place: Place) -> Iterator[Layout]:
    """Nobody brings an image meanwhile, or is about to use one. Raises Locked, NetfabError."""
    with _held(place, fcntl.LOCK_EX) as layout:
        yield layout


@contextmanager
def alone_at_once(place: Place) -> Iterator[Layout | None]:
    """The same; None where somebody does. Raises NetfabError."""
    with _opened(place) as (layout, fd):
        yield layout if _got(fd, fcntl.LOCK_EX) else None


@contextmanager
def _held(place: Place, kind: int) -> Iterator[Layout]:
    with _opened(place) as (layout, fd):
        _wait_for(fd, kind, place, layout)
        yield layout


@contextmanager
def _opened(place: Place) -> Iterator[tuple[Layout, int]]:
    layout = Layout(place.state)
    try:
        os.makedirs(layout.blobs, mode=0o700, exist_ok=True)
        os.makedirs(layout.layers, mode=0o700, exist_ok=True)
        os.chmod(layout.root, 0o700)  # an image's set-user-ID programs are not for the host's users
        fd = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise NetfabError(f"{layout.root}: {error.strerror}") from error
    try:
        yield layout, fd
    finally:
        os.close(fd)


def _wait_for(fd: int, kind: int, place: Place, layout: Layout) -> None:
    if _got(fd, kind):
        return
    place.waiting("another command that brings or removes images")
    until = time.monotonic() + place.lock_timeout

    def check() -> None:
        if time.monotonic() > until:
            raise Locked(
                "images are being brought or removed by another command",
                hint=f"wait for it, or see which by `fuser -v {layout.lock}`",
            )

    wait_for(fd, kind, check)


def wait_for(fd: int, kind: int, check: Callable[[], None]) -> None:
    """Hold that lock; `check`, which may raise, is called now and then."""
    if _got(fd, kind):
        return
    closed = watch_init()  # a lock is let go of by closing its file
    try:
        watch(closed, f"/proc/self/fd/{fd}", IN_CLOSE)
        while not _got(fd, kind):
            check()
            rest(_AGAIN, [closed])
            with suppress(BlockingIOError):
                os.read(closed, _EVENTS)
    finally:
        os.close(closed)


def _got(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
