"""What every benchmark shares: fresh machines on a quiet kernel, whole commands measured, a table.

A figure of one run says little on a shared machine; what is compared runs side by side, in turns, and medians
and their ratios are printed. Nothing here or in its callers asserts a time.
"""

from __future__ import annotations

import argparse
import os
import platform
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from compileall import compile_dir
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import NamedTuple

import netfab
from netfab.hosts.sandbox import throwaway
from netfab.kernel.netlink import Monitor

HERE = Path(__file__).parent
YARDSTICKS = HERE / "yardsticks"
PYTHON = sys.executable
NETFAB = str(Path(sys.executable).parent / "netfab")  # the installed script, not a wrapper in PATH
# PYTHONDONTWRITEBYTECODE and its kin would make each command compile what has changed since the last time.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
_SENTINEL = "netns add sentinel\nlink add s0 type veth peer name s1 netns sentinel\nnetns delete sentinel\n"


class Run(NamedTuple):
    """One whole command."""

    seconds: float  # wall clock, from before the fork to its end
    cpu: float  # seconds, user and system
    peak: int  # bytes; at least this process's own, for the kernel counts from before the exec
    output: str


class Row(NamedTuple):
    """One line of the table."""

    what: str
    measured: str
    bar: str
    met: bool


class Samples(dict[str, list[float]]):
    """Measurements by name; those of the same round have the same place."""

    def add(self, name: str, value: float) -> None:
        self.setdefault(name, []).append(value)

    def median(self, name: str) -> float:
        return median(self[name])

    def ratio(self, name: str, other: str) -> float:
        """The median of each round's own ratio: what disturbs a round mostly disturbs both."""
        return median(ours / theirs for ours, theirs in zip(self[name], self[other], strict=True))


def run(*command: str | os.PathLike[str]) -> Run:
    """Run a whole command. Raises RuntimeError with what it said when it fails."""
    with TemporaryDirectory() as directory, open(f"{directory}/output", "w+") as output:
        start = perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=ENVIRONMENT
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        said = output.read()
    if process.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} failed with {process.returncode}: {said[-2000:]}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss << 10, said)


@contextmanager
def bench() -> Iterator[Path]:
    """A machine for the whole benchmark, and a directory in it. The package is compiled, as pip leaves it."""
    if os.geteuid() != 0:
        raise SystemExit("the benchmarks make network namespaces of a thousand nodes: run them as root")
    compile_dir(Path(netfab.__file__).parent, quiet=1)
    with TemporaryDirectory(dir="/tmp") as directory, throwaway():
        yield Path(directory)


@contextmanager
def fresh_machine() -> Iterator[None]:
    """A machine on which nothing was made yet, on a kernel that is not busy with the end of older ones."""
    wait_until_quiet()
    with throwaway():
        yield


def wait_until_quiet() -> None:
    """Until the kernel has ended every namespace that was dropped so far.

    It ends them in one queue, in order, a batch at a time: a namespace that is dropped now is in the batch
    after those, or in theirs; one dropped after its end is in a later batch. An end shows by that of a veth.
    """
    monitor = Monitor()
    for _ in range(2):
        subprocess.run(
            ["ip", "-batch", "-"],
            input=_SENTINEL,
            text=True,
            check=True,
        )
        while _exists("s0"):
            select.select([monitor], [], [])
            monitor.drain()
    monitor.close()


def _exists(link: str) -> bool:
    try:
        socket.if_nametoindex(link)
    except OSError:
        return False
    return True


def links() -> int:
    """How many links the machine has besides lo."""
    return len(socket.if_nameindex()) - 1


def compiled(directory: Path) -> Path:
    """The C program that does only the kernel's work."""
    program = directory / "kernel_floor"
    subprocess.run(["cc", "-O2", "-Wall", "-o", program, HERE / "kernel_floor.c"], check=True)
    return program


def topology(path: Path, nodes: int, networks: int = 1, without: int = 0, command: str = "none") -> Path:
    """Write a file of that many nodes, spread over the networks; the last `without` left out."""
    lines = ["name: bench", "networks:"]
    lines += [f"  lan{number}: {{}}" for number in range(networks)]
    lines.append("nodes:")
    lines += [
        f"  n{node}: {{command: {command}, networks: [lan{node % networks}]}}"
        for node in range(nodes - without)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def at_most(what: str, value: float, bar: float, unit: str = "x", detail: str = "") -> Row:
    """A row whose bar is an upper limit."""
    return Row(what, f"{value:.3g}{unit}{detail and f' ({detail})'}", f"at most {bar:g}{unit}", value <= bar)


def at_least(what: str, value: float, bar: float, unit: str = "x", detail: str = "") -> Row:
    """A row whose bar is a lower limit."""
    return Row(what, f"{value:.3g}{unit}{detail and f' ({detail})'}", f"at least {bar:g}{unit}", value >= bar)


def show(rows: Iterable[Row]) -> None:
    """By which interpreter, then the table: what | measured | bar | met."""
    print(f"Python {platform.python_version()}, {os.path.realpath(PYTHON)}; Linux {platform.release()}")
    verdict = {True: "yes", False: "NO"}
    table = [("what", "measured", "bar", "met"), *((*row[:3], verdict[row.met]) for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(4)]
    for line in table:
        print(" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def main(measure: Callable[[Path, int], Sequence[Row]], about: str) -> None:
    """Run one benchmark by itself."""
    arguments = argparse.ArgumentParser(description=about)
    arguments.add_argument(
        "--rounds", type=int, default=5, help="how often each command is run (%(default)s)"
    )
    options = arguments.parse_args()
    with bench() as directory:
        show(measure(directory, options.rounds))


def progress(text: str) -> None:
    """On stderr: benchmarks take minutes."""
    print(text, file=sys.stderr, flush=True)
