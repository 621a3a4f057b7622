"""Which signals a process would notice: the kernel drops what a process 1 of a container does not handle."""

from __future__ import annotations

import os

_WAITS = {"x86_64": "128", "aarch64": "137"}.get(os.uname().machine, "")  # rt_sigtimedwait, asm/unistd.h


def handles(pid: int, number: int) -> bool:
    """Whether it handles the signal, blocks it, or waits for signals; False when it is gone.

    proc_pid_status(5). What tini waits for by sigtimedwait(2) is shown as blocked only in between.
    """
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            masks = [int(line.split()[1], 16) for line in file if line.startswith(("SigCgt:", "SigBlk:"))]
        return any(mask & 1 << (number - 1) for mask in masks) or _waits_for_signals(pid)
    except (FileNotFoundError, ProcessLookupError):
        return False


def _waits_for_signals(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/syscall", encoding="utf-8") as file:
            return file.read().split()[0] == _WAITS
    except PermissionError:  # of another user's process, or where ptrace is restricted
        return False
