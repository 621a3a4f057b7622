"""Making a container's first process: clone3, what it tells, and the permission to go on.

The child is a copy of the supervisor that makes the system calls of its life (life.py), the last of which
executes a program: it imports nothing (the file system below it is soon the guest's).
"""

from __future__ import annotations

import gc
import os
import socket
from contextlib import ExitStack, suppress

from netfab.runtime.become import REPORT_LIMIT, TERMINAL, failure_of, run_or_report
from netfab.runtime.life import Life, Lives, Own
from netfab.system import linux
from netfab.system.process import clone
from netfab.tuples import NamedTuple

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


class Newborn(NamedTuple):
    """A process on its way to exec. On the channel it waits for permission, and says what went wrong."""

    name: str
    pid: int
    pidfd: int
    channel: socket.socket


def spawn(birth: Birth) -> Newborn:
    """Start a container's process, up to its exec: that waits for `permit`. It ends if we do before."""
    ours, theirs = socket.socketpair()
    with theirs, ExitStack() as closing:
        log = _opened_log(birth.log, closing)
        errors = _opened_log(birth.errors, closing) if birth.errors else log
        stdin = _opened_pipe(birth, closing) if birth.stdin else -1
        own = birth.own._replace(
            stdin=stdin, log=log, errors=errors, channel=theirs.fileno(), parents=ours.fileno()
        )
        steps = birth.lives.begin(birth.life, own)
        cgroup = None
        if birth.cgroup is not None:
            cgroup = os.open(birth.cgroup, os.O_PATH | os.O_CLOEXEC)
            closing.callback(os.close, cgroup)
        gc.disable()  # a collection would copy every page of the supervisor's heap
        child = clone(_NAMESPACES, cgroup)
        if child.pid == 0:
            run_or_report(steps, own.channel)
        gc.enable()
    return Newborn(birth.name, child.pid, child.pidfd, ours)


def _opened_log(path: str, closing: ExitStack) -> int:
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    closing.callback(os.close, log)
    return log


def _opened_pipe(birth: Birth, closing: ExitStack) -> int:
    """The reading end of a pipe; of one that never ends, its writing end, too: the reader has it itself."""
    way = os.O_RDWR if birth.endless else os.O_RDONLY
    stdin = os.open(birth.stdin, way | os.O_NONBLOCK | os.O_CLOEXEC)
    closing.callback(os.close, stdin)
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
        while data := socket.recv_fds(channel, REPORT_LIMIT, 1):
            text = data[0].removeprefix(TERMINAL)
            ends += data[1]
            if data[0] != TERMINAL:
                break
    if text:
        for end in ends:
            os.close(end)
        raise failure_of(newborn.name, text.decode(errors="replace"))
    return ends[0] if ends else None
