"""The processes that a test's own process has made and not waited for: ended ones, too (proc(5))."""

from __future__ import annotations

from pathlib import Path


def own_children() -> set[int]:
    """Their PIDs. Others' tests in this process may have some, too: compare with those before."""
    return {int(pid) for one in Path("/proc/self/task").glob("*/children") for pid in one.read_text().split()}
