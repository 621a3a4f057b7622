"""The pytest plugin's fixtures, as an ordinary user has them, beside `ip -batch` and mininet.

A cycle is up and down, one after the other, as tests are: the kernel still takes away the namespaces of the
last one while the next begins, of both.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from time import perf_counter

from frame import PYTHON, YARDSTICKS, Row, Samples, at_least, at_most, fresh_machine, main, progress, run

SIZES = {10: (2, 5), 100: (4, 15)}  # nodes: how many times as fast as `ip -batch`, and as mininet
CYCLES = 5
_MININET = {10: 5, 100: 1}  # cycles; it takes some seconds for a hundred
RUN, AT_ONCE = 60, 2  # ten-node tests in one run, in so many workers
USER = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs")
_TEST = """
import pytest
NODES = "networks: {lan: {}}\\nnodes: {n1..10: {networks: [lan]}}\\n"
@pytest.mark.netfab(NODES)
@pytest.mark.parametrize("number", range(%d))
def test_it(netfab, number):
    assert netfab["n1"].ping("n10") < 1
"""
_NOTHING = "def test_it(): pass\n"


def measure(directory: Path, rounds: int) -> list[Row]:
    """All that the table says of the plugin."""
    samples = Samples()
    for number in range(rounds):
        progress(f"plugin: round {number + 1} of {rounds}")
        for nodes in SIZES:
            with fresh_machine():
                told = run(*USER, PYTHON, YARDSTICKS / "fixtures.py", str(nodes), str(CYCLES)).output
            samples.add(f"{nodes} nodes", median(map(float, told.split())))
            with fresh_machine():
                cycles = [_ip_batch(nodes) for _ in range(CYCLES + 1)][1:]
            samples.add(f"ip -batch, {nodes} nodes", median(cycles))
            with fresh_machine():
                samples.add(f"mininet, {nodes} nodes", _mininet(nodes))
        samples.add("tests", _tests_a_second())
        samples.add("unused", _unused(directory))
    return list(_rows(samples))


def _ip_batch(nodes: int) -> float:
    made = run("sh", YARDSTICKS / "ip_batch.sh", str(nodes)).seconds
    return made + run("sh", YARDSTICKS / "ip_batch_down.sh", str(nodes)).seconds


def _mininet(nodes: int) -> float:
    told = run("/usr/bin/python3", YARDSTICKS / "mininet_cycles.py", str(nodes), str(_MININET[nodes])).output
    return median(float(line) for line in told.splitlines() if line[:1].isdigit())  # it also warns


def _tests_a_second() -> float:
    """Of a whole run, less what a run of one test takes: the workers and their brokers start once."""
    many, one = _run(RUN), _run(AT_ONCE)
    return (RUN - AT_ONCE) / (many - one)


def _run(tests: int) -> float:
    with fresh_machine(), tempfile.TemporaryDirectory(dir="/tmp") as path:
        os.chmod(path, 0o755)
        Path(path, "test_it.py").write_text(_TEST % tests)
        words = ("-q", "-p", "no:cacheprovider", "-n", str(AT_ONCE), "--netfab-artefacts=", path)
        begun = perf_counter()
        run(*USER, "env", f"HOME={path}", PYTHON, "-m", "pytest", *words)
        return perf_counter() - begun


def _unused(directory: Path) -> float:
    """Seconds of processor time that a pytest takes more that has the plugin and does not use it."""
    (directory / "test_it.py").write_text(_NOTHING)
    words = (PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(directory))
    with_it = min(run(*words).cpu for _ in range(CYCLES))
    return with_it - min(run(*words, "-p", "no:netfab").cpu for _ in range(CYCLES))


def _rows(samples: Samples) -> Iterator[Row]:
    for nodes, bars in SIZES.items():
        ours = f"{samples.median(f'{nodes} nodes') * 1000:.0f} ms"
        for other, bar in zip(("ip -batch", "mininet"), bars, strict=True):
            yield at_least(
                f"{other} / a fixture of {nodes} nodes, up and down",
                samples.ratio(f"{other}, {nodes} nodes", f"{nodes} nodes"),
                bar,
                detail=ours,
            )
    yield at_least("ten-node tests a second", samples.median("tests"), 10, "")
    yield at_most(
        "a pytest that does not use the plugin takes longer", samples.median("unused") * 1000, 10, " ms"
    )


if __name__ == "__main__":
    main(measure, __doc__)
