"""Waiting for what can be read, however many descriptors a process has: poll(2); select(2) ends at 1023."""

from __future__ import annotations

import select
from collections.abc import Iterable

from netfab import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Protocol, TypeVar

    class _File(Protocol):
        def fileno(self) -> int: ...

    _Opened = TypeVar("_Opened", bound=_File | int)


def readable(waiting: Iterable[_Opened], seconds: float | None) -> list[_Opened]:
    """Those that are readable, or at their end; waits at most that long, None: for ever."""
    poll = select.poll()
    numbered = {one if isinstance(one, int) else one.fileno(): one for one in waiting}
    for fd in numbered:
        poll.register(fd, select.POLLIN)
    found = poll.poll(None if seconds is None else max(0.0, seconds) * 1000)
    return [numbered[fd] for fd, _ in found]
