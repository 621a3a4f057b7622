"""Jobs that processes do at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence


def in_processes(
    jobs: Sequence[Callable[[int], None]], meanwhile: Callable[[], object] = lambda: None
) -> list[int]:
    """Exit codes of each job in a process of its own; to read what it is given waits for all others."""
    children = []
    gate, opening = os.pipe()
    for job in jobs:
        child = os.fork()
        if child == 0:
            try:
                os.close(opening)
                job(gate)
                os._exit(0)
            except BaseException as error:
                os.write(2, f"{type(error).__name__}: {error}\n".encode())
                os._exit(1)
        children.append(child)
    os.close(opening)
    os.close(gate)
    meanwhile()
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
