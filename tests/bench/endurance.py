"""A thousand fixtures of the pytest plugin, one after the other, beside what disturbs a kernel most; and the
end of a run that is killed: how long anything of it lives on.

The disturbance is two loops in namespaces of their own, one that makes and ends links, which takes the RTNL
lock, and fills and empties the neighbour table, and one that takes a processor.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from frame import HERE, PYTHON, YARDSTICKS, Row, at_most, main, progress, run

CYCLES = 1000
KILLED = 5  # times, each party
GROWTH = 1024  # KiB that a process may grow by in that many cycles
PARTIES = "pytest", "worker", "broker"

sys.path.insert(0, str(HERE.parent / "e2e" / "plugin"))


def measure(directory: Path, rounds: int) -> Sequence[Row]:
    """All that the table says of it, however many rounds."""
    return [*_cycles(), *(_ends(party) for party in PARTIES)]


def _cycles() -> Iterator[Row]:
    progress(f"endurance: {CYCLES} fixtures beside a disturbance")
    with _disturbance():
        *said, counts = run(PYTHON, YARDSTICKS / "cycles.py", str(CYCLES)).output.splitlines()
    for line in said:
        progress(line)
    failed, *grown = map(int, counts.split())
    yield at_most(f"fixtures that failed, of {CYCLES} beside a disturbance", failed, 0, "")
    for what, unit, bar, value in zip(
        ("memory of pytest", "memory of the broker", "descriptors of pytest", "descriptors of the broker"),
        (" KiB", " KiB", "", ""),
        (GROWTH, GROWTH, 0, 0),
        grown,
        strict=True,
    ):
        yield at_most(f"growth in these, {what}", value, bar, unit)


@contextmanager
def _disturbance() -> Iterator[None]:
    words = ("unshare", "--net", "--kill-child", "sh", YARDSTICKS / "disturbance.sh")
    loops = [subprocess.Popen([*words, what]) for what in ("links", "processor")]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def _ends(party: str) -> Row:
    """The slowest of a few."""
    progress(f"endurance: kill -9 of the {party}")
    return at_most(
        f"seconds after kill -9 of the {party} until nothing is left",
        max(_end(party) for _ in range(KILLED)),
        1,
        " s",
    )


def _end(party: str) -> float:
    from runs import HANGS, Run

    with TemporaryDirectory(dir="/tmp") as path:
        started = Run(Path(path), HANGS)
        with started.start(*(["-n", "1"] if party == "worker" else [])) as process:
            tester = int(started.wait_for_file("ready"))
            broker = next(pid for pid, line in started.processes() if "netfab.testing.broker" in line)
            os.kill({"pytest": process.pid, "broker": broker, "worker": tester}[party], signal.SIGKILL)
            begun = perf_counter()
            if party == "pytest":
                started.gone()
                return perf_counter() - begun
            # What goes on is pytest, which tells of it.
            started.gone("netfab.testing.broker", "sleep 1000")
            seconds = perf_counter() - begun
            process.communicate(timeout=60)
        return seconds


if __name__ == "__main__":
    main(measure, __doc__)
