"""Resetting what a process inherits from its caller to what the host's process 1 has.

So a container is the same whoever starts it: its limits (getrlimit(2)), niceness and scheduling policy, CPU
affinity, and OOM score. What this process may not raise again (without CAP_SYS_RESOURCE or CAP_SYS_NICE, as
in a user namespace) stays as low as it was.

Environment, descriptors, signals, umask and directory are reset where an interpreter is started.
"""

from __future__ import annotations

import os
import resource
from contextlib import suppress

_FIRST = 1  # process
_LIMITS = 16  # RLIM_NLIMITS, asm-generic/resource.h
# systemd's default for services: its own is higher, and programs that loop over all descriptors suffer.
_OPEN_FILES = 1024, 524288
_OOM = "/proc/{}/oom_score_adj"


def let_go() -> None:
    """Reset these of our caller's attributes."""
    for limit in range(_LIMITS):
        with suppress(OSError):
            _reset(limit)
    with suppress(OSError):
        _reset_scheduling()
    with suppress(OSError):
        os.sched_setaffinity(0, os.sched_getaffinity(_FIRST))
    with (
        suppress(OSError),
        open(_OOM.format(_FIRST), "rb") as theirs,
        open(_OOM.format("self"), "wb") as ours,
    ):
        ours.write(theirs.read())


def _reset_scheduling() -> None:
    policy, niceness = os.sched_getscheduler(_FIRST), os.getpriority(os.PRIO_PROCESS, _FIRST)
    priority = os.sched_getparam(_FIRST)
    if policy & os.SCHED_RESET_ON_FORK:  # its children get the default; sched(7)
        policy, niceness = policy & ~os.SCHED_RESET_ON_FORK, max(niceness, 0)
        if priority.sched_priority:
            policy, priority = os.SCHED_OTHER, os.sched_param(0)
    with suppress(OSError):
        os.sched_setscheduler(0, policy, priority)
    os.setpriority(os.PRIO_PROCESS, 0, niceness)


def _reset(limit: int) -> None:
    soft, hard = resource.prlimit(_FIRST, limit)
    if limit == resource.RLIMIT_NOFILE:
        soft, hard = _least(soft, _OPEN_FILES[0]), _least(hard, _OPEN_FILES[1])
    try:
        resource.setrlimit(limit, (soft, hard))
    except ValueError:  # above our hard limit, which needs CAP_SYS_RESOURCE
        most = resource.getrlimit(limit)[1]
        resource.setrlimit(limit, (_least(soft, most), _least(hard, most)))


def _least(one: int, other: int) -> int:
    return min(one, other, key=lambda limit: (limit == resource.RLIM_INFINITY, limit))
