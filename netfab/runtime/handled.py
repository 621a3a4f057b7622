"""Which signals a process handles: the kernel drops those that process 1 of a container does not."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping

from netfab.system.proc import stat_fields, text_of
from netfab.system.rest import rest

_WAITS = {"x86_64": "128", "aarch64": "137"}.get(os.uname().machine, "")  # rt_sigtimedwait, asm/unistd.h
_RUNS = "running"  # or is runnable
_BUSY = 2  # clock ticks of processor time: a process woken by a timer waits again long before
_PATIENCE = 1.0  # seconds
_GLANCE = 0.001  # seconds between two looks at a running one


def handles(pid: int, number: int) -> bool:
    """Whether it handles the signal, blocks it, or waits for signals; False if it is gone."""
    return bool(handling({pid: number}))


def handling(signals: Mapping[int, int]) -> set[int]:
    """Those of these processes that handle the signal given with each, in the sense of `handles`.

    proc_pid_status(5). What tini waits for with sigtimedwait(2) shows as blocked only in between. It wakes
    every second, so a running process may be on its way there: only one that keeps running is not. That takes
    a while, so all are looked at together.
    """
    found, until = set(), time.monotonic() + _PATIENCE
    unknown = {pid: _ticks(pid) + _BUSY for pid in signals}
    while unknown:
        late = time.monotonic() > until
        for pid, busy in list(unknown.items()):
            if answer := _answer(pid, signals[pid]):
                found.add(pid)
            if answer is not None or late or _ticks(pid) >= busy:
                del unknown[pid]
        if unknown:
            rest(_GLANCE)
    return found


def _answer(pid: int, number: int) -> bool | None:
    """None: it is running, or ran while it was looked at."""
    try:
        before = _status(pid)
        if any(mask & 1 << (number - 1) for mask in _noticed(before)):
            return True
        call = _system_call(pid)
        if call == _WAITS:
            return True
        return False if call != _RUNS and _status(pid) == before else None
    except (FileNotFoundError, ProcessLookupError):
        return False


def _status(pid: int) -> str:
    """Its signal masks, and last its count of voluntary context switches."""
    text = text_of(f"/proc/{pid}/status")
    return text[text.find("SigQ:") :]


def _noticed(status: str) -> Iterator[int]:
    lines = (line.split() for line in status.splitlines() if line.startswith(("SigCgt:", "SigBlk:")))
    return (int(mask, 16) for _, mask in lines)


def _system_call(pid: int) -> str:
    """The number of its current system call; _RUNS; "" if we may not know it."""
    try:
        return text_of(f"/proc/{pid}/syscall").split()[0]
    except PermissionError:  # another user's process, or ptrace is restricted
        return ""


def _ticks(pid: int) -> int:
    """Its processor time in clock ticks; 0 if it is gone."""
    return sum(map(int, stat_fields(pid)[11:13]))
