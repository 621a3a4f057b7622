"""Which signals a process would notice: the kernel drops what a process 1 of a container does not handle."""

from __future__ import annotations

import os
import time

from netfab.system.proc import stat_fields
from netfab.system.rest import rest

_WAITS = {"x86_64": "128", "aarch64": "137"}.get(os.uname().machine, "")  # rt_sigtimedwait, asm/unistd.h
_RUNS = "running"  # or has been woken and waits for a processor
_BUSY = 2  # clock ticks of a processor: who is woken by the clock waits again long before
_PATIENCE = 1.0  # seconds
_GLANCE = 0.001  # seconds between two looks at one that runs


def handles(pid: int, number: int) -> bool:
    """Whether it handles the signal, blocks it, or waits for signals; False when it is gone.

    proc_pid_status(5). What tini waits for by sigtimedwait(2) is shown as blocked only in between. It wakes
    every second, so one that runs may be on its way there: only one that goes on running is not.
    """
    try:
        busy, until = _ticks(pid) + _BUSY, time.monotonic() + _PATIENCE
        while (answer := _answer(pid, number)) is None:
            if _ticks(pid) >= busy or time.monotonic() > until:
                return False
            rest(_GLANCE)
        return answer
    except (FileNotFoundError, ProcessLookupError):
        return False


def _answer(pid: int, number: int) -> bool | None:
    """None: it runs, or did so while it was looked at."""
    before = _status(pid)
    if any(int(before[mask], 16) & 1 << (number - 1) for mask in ("SigCgt", "SigBlk")):
        return True
    call = _system_call(pid)
    if call == _WAITS:
        return True
    return False if call != _RUNS and _status(pid) == before else None


def _status(pid: int) -> dict[str, str]:
    """Its masks, and how often it has given its processor away."""
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        lines = (line.partition(":") for line in file)
        return {name: text for name, _, text in lines if name.startswith("Sig") or "ctxt" in name}


def _system_call(pid: int) -> str:
    """The number of the one that it is in; _RUNS; "" where that is not for us to know."""
    try:
        with open(f"/proc/{pid}/syscall", encoding="utf-8") as file:
            return file.read().split()[0]
    except PermissionError:  # of another user's process, or where ptrace is restricted
        return ""


def _ticks(pid: int) -> int:
    """Of a processor, that it has had; 0 when it is gone."""
    return sum(map(int, stat_fields(pid)[11:13]))
