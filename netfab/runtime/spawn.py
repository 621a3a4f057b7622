"""Starting a container's first process: clone3, the permission to exec, and what the child reports.

The child is a fork of the supervisor. It runs its script of system calls (preexec.py), the last of which is
exec, and imports nothing: its file system is soon the guest's.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from ctypes import memmove

from netfab.runtime.become import REPORT_LIMIT, TERMINAL, failure_of, run_or_report
from netfab.runtime.preexec import Arguments, Invocation, Move, Script, Scripts
from netfab.system import linux
from netfab.system.libc import failure
from netfab.system.process import Clone, clone3
from netfab.system.sockets import Socket, pair, receive_descriptors
from netfab.tuples import NamedTuple

_LOG = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
_NAMESPACES = linux.CLONE_NEWNS | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC | linux.CLONE_NEWPID


class Launch(NamedTuple):
    """What a container's process is started with."""

    name: str
    scripts: Scripts
    script: Script
    arguments: Arguments
    log: str
    errors: str  # log of standard error; "": the common one
    stdin: str  # named pipe; "": none
    endless: bool  # whether that pipe never reaches end-of-file
    cgroup: str | None  # v2 leaf to be cloned into


class Prepared(NamedTuple):
    """A launch whose files are open: the child's descriptors, and our end of its channel."""

    name: str
    invocation: Invocation
    cgroup: int | None
    opened: list[int]
    channel: Socket

    def close(self) -> None:
        """Close the child's descriptors: after the clone it has copies."""
        _close(self.opened)


class Spawned(NamedTuple):
    """A process on its way to exec. It waits for permission on the channel, and reports failures there."""

    name: str
    pid: int
    pidfd: int
    channel: Socket


def prepare(launch: Launch) -> Prepared:
    """Open what the child needs. Raises OSError."""
    ours, theirs = pair()
    opened = [theirs.detach()]
    try:
        opened.append(os.open(launch.log, _LOG, 0o600))
        if launch.errors:
            opened.append(os.open(launch.errors, _LOG, 0o600))
        channel, log, errors = opened[0], opened[1], opened[-1]
        if launch.stdin:
            opened.append(_opened_pipe(launch))
        stdin = opened[-1]
        cgroup = None
        if launch.cgroup is not None:
            cgroup = os.open(launch.cgroup, os.O_PATH | os.O_CLOEXEC)
            opened.append(cgroup)
    except OSError:
        _close(opened)
        raise
    arguments = launch.arguments._replace(stdin=stdin, log=log, errors=errors, channel=channel)
    invocation = launch.scripts.invocation(launch.script, arguments)
    return Prepared(launch.name, invocation, cgroup, opened, ours)


def _close(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())


def spawn(prepared: Sequence[Prepared]) -> list[Spawned | OSError]:
    """Clone containers' processes, which run up to exec and wait there for `permit`, or exit when we do."""
    clones = [Clone(_NAMESPACES, one.cgroup) for one in prepared]
    invocations = [one.invocation for one in prepared]
    ready = [(each.moves(), clone.words, each) for each, clone in zip(invocations, clones, strict=True)]
    gc.disable()  # a collection in a child would copy every page of our heap
    try:
        pids = _clone_each(ready)
    finally:
        gc.enable()
    return [
        Spawned(one.name, pid, clone.pidfd, one.channel) if isinstance(pid, int) else pid
        for one, pid, clone in zip(prepared, pids, clones, strict=True)
    ]


def _clone_each(ready: Iterable[tuple[list[Move], tuple[int, int, int], Invocation]]) -> list[int | OSError]:
    """Returns their process ids.

    Python writes to every object that it reads (reference counts), and a page written between two clones is
    copied again: so this loop touches little, and nearly all of it once per clone.
    """
    pids: list[int | OSError] = []
    for moves, words, invocation in ready:
        for to, origin, size in moves:
            memmove(to, origin, size)
        pid = clone3(*words)
        if not pid:
            run_or_report(invocation.steps, invocation.channel)
        pids.append(pid if pid > 0 else failure())
    return pids


def _opened_pipe(launch: Launch) -> int:
    """A pipe's reading end; opened for writing as well if it is never to reach end-of-file."""
    way = os.O_RDWR if launch.endless else os.O_RDONLY
    stdin = os.open(launch.stdin, way | os.O_NONBLOCK | os.O_CLOEXEC)
    os.set_blocking(stdin, True)
    return stdin


def permit(spawned: Spawned) -> None:
    """Let it exec its program as soon as it is ready."""
    with suppress(BrokenPipeError):  # it has failed already, which await_exec will report
        spawned.channel.send(b"!")


def await_exec(spawned: Spawned) -> int | None:
    """Wait until the program runs; returns the master of its terminal, if any.

    Raises ContainerFailed with the step that failed.
    """
    text, ends = b"", list[int]()
    with spawned.channel as channel, suppress(ConnectionResetError):  # killed before it reported anything
        while found := receive_descriptors(channel, REPORT_LIMIT, 1):
            text = found[0].removeprefix(TERMINAL)
            ends += found[1]
            if found[0] != TERMINAL:
                break
    if text:
        for end in ends:
            os.close(end)
        raise failure_of(spawned.name, text.decode(errors="replace"))
    return ends[0] if ends else None
