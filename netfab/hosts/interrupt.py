"""SIGINT and SIGTERM, handled where nothing is half done: between two steps, not inside one.

A second signal changes nothing: the first one is being handled already, by undoing what was begun.
"""

from __future__ import annotations

import _signal as signal  # `signal` takes 0.5 ms
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from netfab.errors import Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Whether a signal has come."""

    def __init__(self) -> None:
        self._pending: int | None = None
        self._raised = False

    def note(self, number: int, _: object) -> None:
        """The signal handler."""
        self._pending = number

    def check(self) -> None:
        """Raises Interrupted, once, when a signal has come."""
        if self._pending is not None and not self._raised:
            self._raised = True
            raise Interrupted(self._pending)


@contextmanager
def deferred() -> Iterator[Interrupts]:
    """Signals noted instead of raised, while this lasts.

    In a thread other than the main one they are left alone, and so is one that our caller has us ignore, as
    shells do for what runs in the background of a script.
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
