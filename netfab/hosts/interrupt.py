"""SIGINT and SIGTERM, handled between two steps, never inside one.

A second signal has no effect: the first is already being handled, by undoing what was begun.
"""

from __future__ import annotations

import _signal as signal  # importing `signal` takes 0.5 ms
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from netfab.errors import Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Notes whether a signal has arrived."""

    def __init__(self) -> None:
        self._pending: int | None = None
        self._raised = False

    def note(self, number: int, _: object) -> None:
        """The signal handler."""
        self._pending = number

    def check(self) -> None:
        """Raises Interrupted, once, if a signal has arrived."""
        if self._pending is not None and not self._raised:
            self._raised = True
            raise Interrupted(self._pending)


@contextmanager
def deferred() -> Iterator[Interrupts]:
    """Within this, signals are noted instead of raised.

    Not in threads other than the main one. A signal that our caller made us ignore stays ignored, as
    shells have it for background jobs of a script.
    """
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    heeded = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, interrupts.note) for number in heeded}
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
