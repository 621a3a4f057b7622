"""The processes that a test's own process has made and not waited for: ended ones, too (proc(5))."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def own_children() -> set[int]:
    """Their PIDs. Others' tests in this process may have some, too: none must be new, and some may end."""
    found: set[int] = set()
    for thread in os.listdir("/proc/self/task"):
        with suppress(FileNotFoundError):  # it has just ended
            found |= set(map(int, Path(f"/proc/self/task/{thread}/children").read_text().split()))
    return found
