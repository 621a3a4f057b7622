"""Descriptors by number."""

from __future__ import annotations

import os

# Of locks that are held here. A program that changes the kernel inherits them: it may outlive this process.
LOCKS = set[int]()
os.register_at_fork(after_in_child=LOCKS.clear)  # who is forked has them open, and may close them unasked


def reserve(count: int) -> range:
    """Numbers that no descriptor of this process has, one after the other, and that none will get."""
    held = os.open(os.devnull, os.O_PATH | os.O_CLOEXEC)
    first = max(map(int, os.listdir("/proc/self/fd"))) + 1
    for number in range(first, first + count):
        os.dup2(held, number, inheritable=False)
    os.close(held)
    return range(first, first + count)
