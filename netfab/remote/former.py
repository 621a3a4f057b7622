"""Former copies of netfab's modules on a far host: the first agent of a new one removes what nobody runs.

A copy is run by agents, which share the lock of the directory that all copies are in as long as they live;
by supervisors and their kin, whose command lines say which one; and by what outlives an agent that forked it
(dead_man.py), which has the agent's command line. While there is one of these last, nothing is removed.
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
    """Remove every copy but our own that no process runs, and what a killed or failed installation left.

    `lock`: a descriptor of the directory, which shares its lock; afterwards it does again. Where others hold
    that, too, nothing is removed: the next new copy will be.
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
    """Of every other process for which the directory is at that path; those in containers have another."""
    wanted = os.fstat(directory)
    for number in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError):  # it has just ended
            if int(number) != os.getpid() and os.path.samestat(os.stat(f"/proc/{number}/root{path}"), wanted):
                with open(f"/proc/{number}/cmdline", "rb") as file:
                    yield file.read().split(b"\0")


def _remove(path: str) -> None:
    """Whole or not at all, as far as anybody can tell: half of a copy has no copy's name."""
    with suppress(OSError):  # it stays
        gone = path if path.endswith(".gone") else f"{path}.gone"
        os.rename(path, gone)
        shutil.rmtree(gone)
