"""Old copies of netfab's modules on a remote host: the first agent of a new one removes the unused ones.

A copy is used by agents, which hold a shared lock on the directory of all copies as long as they live;
by supervisors and the like, whose command lines name the copy; and by what outlives an agent that forked it
(dead_man.py), which has the agent's command line. While there is such a process, nothing is removed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress

_AGENT = (b"-I", b"-S", b"-c")  # how ssh.py starts one
_ITS_TEXT = b"import base64;exec("


def remove_former(cache: str, own: str, lock: int) -> None:
    """Remove all copies but our own that no process uses, and leftovers of a killed or failed installation.

    `lock`: a descriptor of the directory that holds the shared lock, before and afterwards. If others hold
    it, too, nothing is removed: the first agent of the next copy will do it.
    """
    with suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lines = list(_command_lines(lock, cache))
        if not any(line[1:4] == list(_AGENT) and line[4].startswith(_ITS_TEXT) for line in lines if line[4:]):
            run = {os.fsdecode(word) for line in lines for word in line}
            for name in os.listdir(cache):
                if name != own and f"{cache}/{name}" not in run:
                    _remove(f"{cache}/{name}")
    fcntl.flock(lock, fcntl.LOCK_SH)


def _command_lines(directory: int, path: str) -> Iterator[list[bytes]]:
    """Those of all other processes that see the directory at that path; processes in containers don't."""
    wanted = os.fstat(directory)
    for number in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError):  # it has just ended
            if int(number) != os.getpid() and os.path.samestat(os.stat(f"/proc/{number}/root{path}"), wanted):
                with open(f"/proc/{number}/cmdline", "rb") as file:
                    yield file.read().split(b"\0")


def _remove(path: str) -> None:
    """Remove a copy, atomically for observers: it is renamed first, so no partial copy has a valid name."""
    with suppress(OSError):  # then it stays
        gone = path if path.endswith(".gone") else f"{path}.gone"
        os.rename(path, gone)
        shutil.rmtree(gone)
