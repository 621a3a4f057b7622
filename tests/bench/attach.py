"""Attaching: one interface for a running container, cold and within a process, and a hundred in a topology.

Beside a shell script that does what pipework does, and beside the C program that makes as many endpoints.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from frame import (
    NETFAB,
    PYTHON,
    YARDSTICKS,
    Row,
    Samples,
    at_most,
    compiled,
    fresh_machine,
    main,
    progress,
    run,
)
from startup import imports

REPEATED = 4  # times the rounds, of what takes milliseconds
MANY = 100
GATEWAY = "10.7.0.1"
_TWICE = """
import time
from netfab.imperative import adhoc
def attach(n):
    adhoc.attach(adhoc.request_of("br7", "pid:{pid}", [f"10.7.0.{{n}}/24@10.7.0.1"], f"eth{{n}}", "", "", 0))
attach(2)
start = time.perf_counter()
attach(3)
print(time.perf_counter() - start)
"""


def measure(directory: Path, rounds: int) -> list[Row]:
    """All that the table says of attaching."""
    samples = Samples()
    floor = compiled(directory)
    for number in range(rounds):
        progress(f"attach: round {number + 1} of {rounds}")
        for _ in range(REPEATED):
            _one(samples)
        _many(directory, floor, samples)
    names = "cold", "script", "second", "many", "again", "floor"
    cold, script, second, many, again, made = (samples.median(name) * 1000 for name in names)
    return [
        at_most(
            "a cold attach against the shell script", samples.ratio("cold", "script"), 1.0,
            detail=f"{cold:.0f} ms; script {script:.0f} ms",
        ),
        at_most(
            "a second one in the same process against the script", samples.ratio("second", "script"), 0.1,
            detail=f"{second:.1f} ms",
        ),
        at_most(
            f"{MANY} attachments in one topology against C", samples.ratio("many", "floor"), 1.5,
            detail=f"{many:.0f} ms, {many - again:.0f} beyond an apply without changes; C {made:.0f} ms",
        ),
        at_most("imports of attach", samples.median("imports"), 70, " ms"),
    ]  # fmt: skip


def _one(samples: Samples) -> None:
    with fresh_machine(), guest() as pid:
        words = ("attach", "br7", f"pid:{pid}", f"10.7.0.2/24@{GATEWAY}")
        samples.add("cold", run(NETFAB, *words).seconds)
    with fresh_machine(), guest() as pid:
        samples.add(
            "script",
            run("sh", YARDSTICKS / "attach.sh", "br7", str(pid), "eth1", "10.7.0.2/24", GATEWAY).seconds,
        )
    with fresh_machine(), guest() as pid:
        samples.add("second", float(run(PYTHON, "-c", _TWICE.format(pid=pid)).output))
    with fresh_machine(), guest() as pid:
        words = ("attach", "br7", f"pid:{pid}", f"10.7.0.2/24@{GATEWAY}")
        samples.add("imports", imports(NETFAB, *words) - imports("-c", "pass"))


def _many(directory: Path, floor: Path, samples: Samples) -> None:
    lines = ["name: bench", "networks: {lan: {}}", "nodes:"]
    lines += [
        f"  n{n}: {{attach: 'netns:guest{n}', networks: {{lan: {{gateway: true}}}}}}" for n in range(MANY)
    ]
    file = directory / "attached.yaml"
    file.write_text("\n".join(lines) + "\n")
    with fresh_machine():
        made = "".join(f"netns add guest{n}\n" for n in range(MANY))
        subprocess.run(["ip", "-batch", "-"], input=made, text=True, check=True)
        samples.add("many", run(NETFAB, "apply", file).seconds)
        samples.add("again", run(NETFAB, "apply", file).seconds)
    with fresh_machine():
        samples.add("floor", run(floor, "make", str(MANY), "1").seconds)


@contextmanager
def guest() -> Iterator[int]:
    """A process in a network namespace of its own."""
    ready, wake = os.pipe()
    with subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "echo; exec sleep 600"], stdout=wake, pass_fds=(wake,)
    ) as process:
        os.close(wake)
        os.read(ready, 1)
        os.close(ready)
        try:
            yield process.pid
        finally:
            process.kill()


if __name__ == "__main__":
    main(measure, __doc__)
