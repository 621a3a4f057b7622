"""A supervisor's start, in two halves: an interpreter with everything imported, and the word to go on.

The first half touches nothing that others see and takes nearly all of the time, so a command that will need
a supervisor begins it and does its own work meanwhile. Without the word, which a command that fails or is
killed never gives, that interpreter ends as if it had not been.
"""

from __future__ import annotations

import os
import signal
from _socket import socketpair
from contextlib import suppress
from typing import NoReturn

from netfab.errors import RuntimeFailed
from netfab.runtime import sealed
from netfab.runtime.paths import Paths
from netfab.runtime.protocol import BUSY, READY, WORD

_MOST = 1 << 16  # bytes of its last words

_begun: dict[Paths, int] = {}  # what leads to those that wait for the word


def begin(paths: Paths) -> None:
    """Have the first half done beside us, unless a supervisor seems to be there."""
    if paths not in _begun and not os.path.exists(paths.socket):
        _begun[paths] = _forked(paths)


def summon(paths: Paths) -> bytes:
    """Have all of it done: READY or BUSY. Raises RuntimeFailed with its last words."""
    said = _answer(_begun.pop(paths)) if paths in _begun else b""
    said = said or _answer(_forked(paths))  # also for one that was killed before it was called
    if said in (READY, BUSY):
        return said
    with suppress(FileNotFoundError), open(paths.supervisor_log, "rb") as file:
        said = file.read()[-2000:] + said
    words = said.decode(errors="replace").strip().splitlines() or ["it said nothing"]
    raise RuntimeFailed(f"the supervisor of {paths.fabric} did not start: {words[-1]}")


def _answer(way: int) -> bytes:
    """What it says to the word; nothing where it has ended without any."""
    said = b""
    with suppress(ConnectionError):
        os.write(way, WORD)
    with suppress(ConnectionError):
        while data := os.read(way, _MOST):
            said += data
    os.close(way)
    return said


def _forked(paths: Paths) -> int:
    """Begin one that is nobody's child; what leads to it."""
    argv = sealed.command("supervisor", *paths)
    ours, theirs = socketpair()
    child = os.fork()
    if child == 0:
        _become(argv, theirs.fileno())
    os.waitpid(child, 0)
    theirs.close()
    return ours.detach()


def _become(argv: list[str], way: int) -> NoReturn:
    """Nothing of ours reaches a container by way of it: no environment, no descriptor, no signal's state."""
    try:
        if os.fork():
            os._exit(0)
        for number in range(3):
            os.dup2(way, number)
        os.setsid()
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            if signal.getsignal(number) == signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        mounts = os.open("/proc/self/ns/mnt", os.O_RDONLY)
        os.set_inheritable(mounts, True)
        sealed.execute([*argv, str(mounts)])
    except BaseException as error:
        os.write(2, str(error).encode(errors="replace"))
    finally:
        os._exit(127)
