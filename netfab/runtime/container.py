"""A container in its supervisor's memory."""

from __future__ import annotations

import time

from netfab.runtime.record import Record
from netfab.runtime.spec import Restart

FIRST_DELAY = 0.1  # seconds before the first restart


class Container:
    """A container that runs or waits for its restart. Kept small: there may be thousands."""

    __slots__ = ("delay", "is_child", "name", "netns", "pidfd", "record", "restart", "since", "stopping")

    def __init__(self, name: str, restart: Restart, netns: int | None, known: Record) -> None:
        self.name, self.restart, self.netns, self.record = name, restart, netns, known
        self.pidfd = -1
        self.is_child = True  # False: adopted from a supervisor that died
        self.stopping = known.stopped  # it is to end: no policy applies
        self.delay = FIRST_DELAY
        self.since = time.monotonic()
