"""Making a container's first process: clone3, what it tells, and the permission to go on.

The child is a copy of the supervisor that makes the system calls of its life (life.py), the last of which
executes a program: it imports nothing (the file system below it is soon the guest's).
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from ctypes import memmove

from netfab.runtime.become import REPORT_LIMIT, TERMINAL, failure_of, run_or_report
from netfab.runtime.life import Life, Lives, Move, Own, Start
from netfab.system import linux
from netfab.system.libc import failure
from netfab.system.process import Clone, clone3
from netfab.system.sockets import Socket, pair, receive_descriptors
from netfab.tuples import NamedTuple

_LOG = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
_NAMESPACES = linux.CLONE_NEWNS | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC | linux.CLONE_NEWPID


class Birth(NamedTuple):
    """What a process is born with."""

    name: str
    lives: Lives
    life: Life
    own: Own
    log: str
    errors: str  # log of standard error; "": the same
    stdin: str  # pipe; "": none
    endless: bool  # that pipe
    cgroup: str | None  # v2 leaf to be born into


class Expected(NamedTuple):
    """All is ready for a birth: what is opened for the child, and our end of its channel."""

    name: str
    start: Start
    cgroup: int | None
    opened: list[int]
    channel: Socket

    def close(self) -> None:
        """After its birth: what it has of this is its own."""
        _close(self.opened)


class Newborn(NamedTuple):
    """A process on its way to exec. On the channel it waits for permission, and says what went wrong."""

    name: str
    pid: int
    pidfd: int
    channel: Socket


def expect(birth: Birth) -> Expected:
    """Open what it is born with. Raises OSError."""
    ours, theirs = pair()
    opened = [theirs.detach()]
    try:
        opened.append(os.open(birth.log, _LOG, 0o600))
        if birth.errors:
            opened.append(os.open(birth.errors, _LOG, 0o600))
        channel, log, errors = opened[0], opened[1], opened[-1]
        if birth.stdin:
            opened.append(_opened_pipe(birth))
        stdin = opened[-1]
        cgroup = None
        if birth.cgroup is not None:
            cgroup = os.open(birth.cgroup, os.O_PATH | os.O_CLOEXEC)
            opened.append(cgroup)
    except OSError:
        _close(opened)
        raise
    start = birth.lives.start(
        birth.life, birth.own._replace(stdin=stdin, log=log, errors=errors, channel=channel)
    )
    return Expected(birth.name, start, cgroup, opened, ours)


def _close(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())


def bear(expected: Sequence[Expected]) -> list[Newborn | OSError]:
    """Start containers' processes, up to their exec: that waits for `permit`. They end if we do before."""
    clones = [Clone(_NAMESPACES, one.cgroup) for one in expected]
    starts = [one.start for one in expected]
    ready = [(start.moves(), clone.words, start) for start, clone in zip(starts, clones, strict=True)]
    gc.disable()  # a collection in a child would copy every page of our heap
    try:
        born = _born(ready)
    finally:
        gc.enable()
    return [
        Newborn(one.name, pid, clone.pidfd, one.channel) if isinstance(pid, int) else pid
        for one, pid, clone in zip(expected, born, clones, strict=True)
    ]


def _born(ready: Iterable[tuple[list[Move], tuple[int, int, int], Start]]) -> list[int | OSError]:
    """Their numbers. Python writes to all that it looks at, and a page that is written to between two births
    is copied once more: so little is looked at here, and nearly all of it once for each.
    """
    born: list[int | OSError] = []
    for moves, words, start in ready:
        for to, origin, size in moves:
            memmove(to, origin, size)
        pid = clone3(*words)
        if not pid:
            run_or_report(start.steps, start.channel)
        born.append(pid if pid > 0 else failure())
    return born


def _opened_pipe(birth: Birth) -> int:
    """The reading end of a pipe; of one that never ends, its writing end, too: the reader has it itself."""
    way = os.O_RDWR if birth.endless else os.O_RDONLY
    stdin = os.open(birth.stdin, way | os.O_NONBLOCK | os.O_CLOEXEC)
    os.set_blocking(stdin, True)
    return stdin


def permit(newborn: Newborn) -> None:
    """Let it run its program as soon as it is ready."""
    with suppress(BrokenPipeError):  # it has failed already, which await_exec will tell
        newborn.channel.send(b"!")


def await_exec(newborn: Newborn) -> int | None:
    """Wait until the program runs; our end of its terminal, where it has one.

    Raises ContainerFailed with the step that failed.
    """
    text, ends = b"", list[int]()
    with newborn.channel as channel, suppress(ConnectionResetError):  # killed before it said anything
        while found := receive_descriptors(channel, REPORT_LIMIT, 1):
            text = found[0].removeprefix(TERMINAL)
            ends += found[1]
            if found[0] != TERMINAL:
                break
    if text:
        for end in ends:
            os.close(end)
        raise failure_of(newborn.name, text.decode(errors="replace"))
    return ends[0] if ends else None
