"""Timers, by the monotonic clock."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from itertools import count


class Timers:
    """Calls that are due later. They can't be cancelled: each checks whether it is still wanted."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call this once, in so many seconds."""
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._order), call))

    def wait(self) -> float:
        """Seconds until the next call is due; -1 (forever, as for epoll) if there is none."""
        return max(0.0, self._due[0][0] - time.monotonic()) if self._due else -1

    def run(self) -> None:
        """Make the calls that are due."""
        while self._due and self._due[0][0] <= time.monotonic():
            heapq.heappop(self._due)[2]()
