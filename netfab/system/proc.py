"""What /proc says of a process, and of this boot: proc(5)."""

from __future__ import annotations

import os
from functools import partial

_boot_id = ""


def text_of(path: str) -> str:
    """The content of a small file; `open` would take five times as long. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return b"".join(iter(partial(os.read, fd, 1 << 16), b"")).decode(errors="replace")
    finally:
        os.close(fd)


def boot_id() -> str:
    """Random for each boot: process numbers and start times are unique only together with it."""
    global _boot_id
    if not _boot_id:
        _boot_id = text_of("/proc/sys/kernel/random/boot_id").strip()
    return _boot_id


def write_text(path: str, text: str) -> None:
    """Write a value to a file of /proc, in one write. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def stat_fields(pid: int) -> list[str]:
    """/proc/PID/stat from field 3 on (the name before it may hold anything); empty: no such process."""
    try:
        return text_of(f"/proc/{pid}/stat").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None if it is gone or a zombie."""
    fields = stat_fields(pid)
    return int(fields[19]) if fields and fields[0] not in "ZX" else None


def zombie_status(pid: int, ticks: int) -> int | None:
    """The wait status of a zombie, which its parent has not waited for yet."""
    fields = stat_fields(pid)
    return int(fields[49]) if fields and fields[0] == "Z" and int(fields[19]) == ticks else None
