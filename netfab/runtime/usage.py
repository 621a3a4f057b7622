"""What containers use: CPU time, memory, processes, and network traffic.

From the cgroup leaf where it tells, otherwise from each process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from netfab.runtime import cgroups
from netfab.runtime.cgroups import Hierarchies, Leaf
from netfab.runtime.status import Status
from netfab.system.proc import stat_fields
from netfab.tuples import NamedTuple

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_GONE = (FileNotFoundError, ProcessLookupError)


class Usage(NamedTuple):
    """Since the start of its program; memory and processes are current."""

    cpu: float  # seconds
    memory: int  # bytes
    limit: int | None  # bytes
    pids: int
    received: int  # bytes, by all interfaces but lo
    sent: int


def usage_of(one: Status, hierarchies: Hierarchies) -> Usage:
    """The usage of a running container; zeros if it has just ended."""
    leaves = cgroups.existing_leaves(one.spec.name, hierarchies)
    processes = list(_processes(one.pid, leaves))
    cpu, memory = _cpu(leaves), _first(leaves, "memory.current", "memory.usage_in_bytes")
    received, sent = _traffic(one.pid)
    return Usage(
        _by_process(processes) if cpu is None else cpu,
        sum(map(_resident, processes)) if memory is None else memory,
        one.spec.memory,
        len(processes),
        received,
        sent,
    )


def _processes(pid: int, leaves: list[Leaf]) -> Iterator[int]:
    """All its processes; without a leaf, the first one and its descendants."""
    for leaf in leaves[:1]:
        yield from map(int, _read(f"{leaf.path}/cgroup.procs").split())
        return
    waiting = [pid]
    while waiting:
        one = waiting.pop()
        yield one
        waiting += map(int, _read(f"/proc/{one}/task/{one}/children").split())


def _cpu(leaves: list[Leaf]) -> float | None:
    for leaf in leaves:
        if not leaf.controllers:
            stat = dict(line.split() for line in _read(f"{leaf.path}/cpu.stat").splitlines())
            return int(stat.get("usage_usec", 0)) / 1e6
    nanoseconds = _first(leaves, "cpuacct.usage")
    return None if nanoseconds is None else nanoseconds / 1e9


def _first(leaves: list[Leaf], *files: str) -> int | None:
    for leaf in leaves:
        for file in files:
            if text := _read(f"{leaf.path}/{file}"):
                return int(text)
    return None


def _by_process(processes: list[int]) -> float:
    """utime, stime and those of reaped children; proc_pid_stat(5)."""
    found = (stat_fields(pid) for pid in processes)
    return sum(sum(map(int, fields[11:15])) for fields in found if fields) / _TICK


def _resident(pid: int) -> int:
    fields = _read(f"/proc/{pid}/statm").split()
    return int(fields[1]) * _PAGE if fields else 0


def _traffic(pid: int) -> tuple[int, int]:
    received = sent = 0
    for line in _read(f"/proc/{pid}/net/dev").splitlines()[2:]:
        name, _, rest = line.partition(":")
        if name.strip() != "lo":
            fields = rest.split()
            received, sent = received + int(fields[0]), sent + int(fields[8])
    return received, sent


def _read(path: str) -> str:
    with suppress(*_GONE), open(path, encoding="ascii", errors="replace") as file:
        return file.read()
    return ""
