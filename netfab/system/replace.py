"""Files that are there as a whole or as they were before; rename(2). Without ctypes, for small commands."""

from __future__ import annotations

import os


def replace_file(path: str, text: str) -> None:
    """Write a private file whole or not at all, but for a power cut. Raises OSError."""
    new = f"{path}.new"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        left = memoryview(text.encode())
        while left:
            left = left[os.write(fd, left) :]
    finally:
        os.close(fd)
    os.rename(new, path)
