"""Removing a container of `--rm`, and its network, after it has ended: by running the user's command for it.

The supervisor starts the command and does not wait: the command waits for the supervisor to end, if that was
its last container.
"""

from __future__ import annotations

import os
import sys

from netfab.runtime.paths import Paths
from netfab.runtime.spec import DEFAULT_ENV
from netfab.system import linux
from netfab.system.process import close_on_exec_from

_BOOTSTRAP = (
    "import sys; sys.path.append(sys.argv[1]);"
    " from netfab.imperative.containers import main; main(*sys.argv[2:])"
)


def start(paths: Paths, name: str, mounts: int) -> int:
    """Start the command in the mount namespace that is open as `mounts`; its process id.

    The supervisor's own mount namespace lacks the nodes' network namespaces.
    """
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    argv = [sys.executable, "-I", "-c", _BOOTSTRAP, package, paths.run, paths.state, name]
    pid = os.fork()
    if pid == 0:
        try:
            linux.setns(mounts, linux.CLONE_NEWNS)
            close_on_exec_from(3)
            os.execve(argv[0], argv, DEFAULT_ENV)
        finally:
            os._exit(127)
    return pid


def has_ended(pid: int) -> bool:
    """Whether the command has exited; reaps it."""
    return os.waitpid(pid, os.WNOHANG)[0] != 0
