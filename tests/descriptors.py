"""The descriptors that are open in a test's own process."""

from __future__ import annotations

import gc
import os


def descriptors() -> set[int]:
    """Those that are open now."""
    return {int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")}


def settled_descriptors() -> set[int]:
    """Those that are open, and none that ends by itself: of what earlier tests left to the collector."""
    gc.collect()
    return descriptors()
