"""All benchmarks, one table: python tests/bench [--rounds 5]."""

from __future__ import annotations

from pathlib import Path

import apply
import hosts
import images
import overlay
import planning
import plugin
import runtime
import startup
import sweep
from frame import Row, main


def measure(directory: Path, rounds: int) -> list[Row]:
    """Every row, the short ones first."""
    return [
        row
        for part in (startup, planning, sweep, overlay, apply, runtime, images, plugin, hosts)
        for row in part.measure(directory, rounds)
    ]


if __name__ == "__main__":
    main(measure, __doc__)
