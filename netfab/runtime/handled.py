"""Which signals a process would notice: the kernel drops what a process 1 of a container does not handle."""

from __future__ import annotations


def handles(pid: int, number: int) -> bool:
    """Whether it handles the signal, or waits for it (proc_pid_status(5)); False when it is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            masks = [int(line.split()[1], 16) for line in file if line.startswith(("SigCgt:", "SigBlk:"))]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return any(mask & 1 << (number - 1) for mask in masks)
