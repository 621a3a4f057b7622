"""Fixtures of the plugin, one after the other, without pytest: cycles.py CYCLES.

Prints how many failed, and by how much this process and the broker grew: memory in KiB, open descriptors.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from netfab.testing.fabric import Fabric
from netfab.testing.given import Given

WARM = 20  # cycles after which everything is as it stays
TOPOLOGY = Given("networks: {lan: {}}\nnodes: {n1..10: {networks: [lan]}}\n", "bench.yaml", "/")


def main(cycles: int) -> None:
    failed = sum(not _cycle() for _ in range(WARM))
    broker = _broker()
    before = _sizes(broker)
    failed += sum(not _cycle() for _ in range(cycles))
    print(failed, *(now - then for now, then in zip(_sizes(broker), before, strict=True)))


def _cycle() -> bool:
    """Whether the first node reached the last, and a program ran."""
    fabric = Fabric(TOPOLOGY, recorded=True)
    try:
        return bool(fabric["n1"].reaches("n10")) and not fabric["n10"].run("true", check=False).rc
    except Exception as error:  # any is a failed cycle, and the others go on
        print(repr(error), file=sys.stderr)
        return False
    finally:
        fabric.close()


def _broker() -> int:
    (child,) = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return int(child)


def _sizes(broker: int) -> list[int]:
    processes = [Path(f"/proc/{process}") for process in (os.getpid(), broker)]
    memory = [
        int(re.findall(r"Anonymous: +(\d+)", (each / "smaps_rollup").read_text())[0]) for each in processes
    ]
    return [*memory, *(len(os.listdir(each / "fd")) for each in processes)]


if __name__ == "__main__":
    main(int(sys.argv[1]))
