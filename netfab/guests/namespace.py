"""A guest's network namespace, opened."""

from __future__ import annotations

import os
from errno import ENOENT


def open_namespace(path: str, pid: int, started: str) -> int:
    """A file descriptor. Raises FileNotFoundError when the guest went away."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    if not pid and str(os.fstat(fd).st_ino) != started:
        os.close(fd)
        raise FileNotFoundError(ENOENT, "the guest went away", path)
    return fd
