"""Who descends from this process, and is ended together. Linux, proc(5)."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from time import monotonic

from netfab.system.proc import stat_fields
from netfab.system.rest import rest

ENDING = 30.0  # seconds, in which what was killed has ended on any machine
_GLANCE = 0.002  # seconds between two looks at who is killed: not all of them are our children


def end_descendants() -> None:
    """SIGKILL for all of them, until none lives who could start another one.

    Who was orphaned is among them only after adopt_orphans(); in a container its first process adopts those.
    Who waits for a device or a file server that is silent ends when that answers, and is given up.
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
    """Their numbers, parents first."""
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
