"""A command that is killed: between two of its steps, without a chance to say or undo anything."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from netfab.objects.base import Op
from netfab.where import Where


def is_killed(step: int, job: Callable[[Where], object]) -> bool:
    """Whether it had so many steps; it runs in a process of its own, which is killed before that one.

    The first step is 1.
    """
    count = 0

    def hook(_: Op) -> bool:
        nonlocal count
        count += 1
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    child = os.fork()
    if child == 0:
        code = 1
        try:
            job(Where(hook=hook))
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    assert status == 0 or os.WIFSIGNALED(status), "it failed before that step"
    return status != 0
