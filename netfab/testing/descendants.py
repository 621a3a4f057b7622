"""The descendants of this process, which are killed together. Linux, proc(5)."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from time import monotonic

from netfab.system.proc import stat_fields
from netfab.system.rest import rest

ENDING = 30.0  # seconds; a killed process has ended by then on any machine
_GLANCE = 0.002  # seconds between two polls: not all of the killed are our children


def end_descendants() -> None:
    """SIGKILL all of them, until none is left that could start another one.

    Orphans are among them only after adopt_orphans(); in a container its first process adopts orphans.
    A process blocked on an unresponsive device or file server ends when that answers; it is not waited for.
    """
    deadline = monotonic() + ENDING
    while found := set(_living()):
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if monotonic() > deadline:
            return
        rest(_GLANCE)


def _living() -> Iterator[int]:
    """Their process IDs, parents first."""
    children: dict[int, list[int]] = {}
    dead = set()
    for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):
        if fields := stat_fields(pid):  # else it has just ended
            children.setdefault(int(fields[1]), []).append(pid)
            dead.update([pid] if fields[0] in "ZX" else [])
    ours = [os.getpid()]
    for one in ours:  # which grows meanwhile
        ours += children.get(one, [])
    return (pid for pid in ours[1:] if pid not in dead)
