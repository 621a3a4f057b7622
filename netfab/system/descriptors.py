"""Descriptors by number."""

from __future__ import annotations

import os

# Locks that this process holds. A program that changes the kernel inherits them: it may outlive this process.
LOCKS = set[int]()
os.register_at_fork(after_in_child=LOCKS.clear)  # a forked child has them open, and may close them anyhow


def reserve(count: int) -> range:
    """Consecutive numbers that no descriptor of this process has, and that none will get."""
    held = os.open(os.devnull, os.O_PATH | os.O_CLOEXEC)
    first = max(map(int, os.listdir("/proc/self/fd"))) + 1
    for number in range(first, first + count):
        os.dup2(held, number, inheritable=False)
    os.close(held)
    return range(first, first + count)
