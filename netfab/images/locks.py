"""Locks on a host's images: flock(2), released when the process that holds them ends.

Images are pulled and used concurrently under a shared lock; removing some takes it exclusively. What two
processes could write at once (a blob, a layer) has a lock of its own: the file or directory itself.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from netfab.errors import Locked, NetfabError
from netfab.images.layout import Layout
from netfab.system.flock import got, wait_for

if TYPE_CHECKING:
    from netfab.images import Place


@contextmanager
def using(place: Place) -> Iterator[Layout]:
    """Keep others from removing images in the block. Raises Locked, NetfabError."""
    with _held(place, fcntl.LOCK_SH) as layout:
        yield layout


@contextmanager
def alone(place: Place) -> Iterator[Layout]:
    """Keep others from bringing images, or starting to use one, in the block. Raises Locked, NetfabError."""
    with _held(place, fcntl.LOCK_EX) as layout:
        yield layout


@contextmanager
def alone_at_once(place: Place) -> Iterator[Layout | None]:
    """The same without waiting; None if somebody does so now. Raises NetfabError."""
    with _opened(place) as (layout, fd):
        yield layout if got(fd, fcntl.LOCK_EX) else None


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
        os.chmod(layout.root, 0o700)  # keeps an image's set-user-ID programs from the host's users
        fd = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise NetfabError(f"{layout.root}: {error.strerror}") from error
    try:
        yield layout, fd
    finally:
        os.close(fd)


def _wait_for(fd: int, kind: int, place: Place, layout: Layout) -> None:
    if got(fd, kind):
        return
    place.waiting("another command that brings or removes images")
    until, late = time.monotonic() + place.lock_timeout, False

    def check() -> None:
        nonlocal late
        if late:  # the deadline had passed before our last check
            raise Locked(
                "another command is pulling or removing images",
                hint=f"wait for it, or see which by `fuser -v {layout.lock}`",
            )
        late = time.monotonic() > until

    wait_for(fd, kind, check)
