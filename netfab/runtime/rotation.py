"""Keeping logs from filling the disk: the beginning of a long one becomes a hole.

The container writes to the file itself, so nobody has to cooperate and no byte is lost; offsets stay valid
for readers.
"""

from __future__ import annotations

import os

from netfab.system.files import punch_hole

LOG_LIMIT = 16 << 20  # bytes on disk before the older half goes
_BLOCK = 512  # of st_blocks


def trim(path: str, limit: int = LOG_LIMIT) -> None:
    """Punch a hole below the last half of the limit, once a log takes more than the limit on disk.

    Raises OSError.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return
    if found.st_blocks * _BLOCK <= limit:
        return
    # Non-blocking: a guest's lease on it would delay open by 45 s; fcntl(2).
    fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        punch_hole(fd, found.st_size - limit // 2)
    finally:
        os.close(fd)
