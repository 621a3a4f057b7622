"""Starting a supervisor in two halves: an interpreter with everything imported, and the word to go on.

The first half has no visible effect and takes nearly all of the time, so a command that will need a
supervisor begins it and goes on with its own work. Without the word, which a command that fails or is killed
never sends, the interpreter ends without a trace. After the word, the supervisor stays until the command has
sent its request, or closes the connection.
"""

from __future__ import annotations

import os
import signal
from _socket import SHUT_WR
from contextlib import suppress
from typing import NoReturn

from netfab.errors import RuntimeFailed
from netfab.runtime import sealed
from netfab.runtime.paths import Paths
from netfab.runtime.protocol import BUSY, READY, WORD
from netfab.system.process import close_on_exec_from
from netfab.system.sockets import Socket, pair
from netfab.tuples import NamedTuple

_MOST = 1 << 16  # bytes of its last output
_ANSWERS = (READY, BUSY)


class _Begun(NamedTuple):
    """One that waits for the word, or was sent it."""

    pid: int  # pid of our child, which exits as soon as its own child waits
    way: Socket  # the channel to it
    called: bool = False
    answered: bool = False


_begun: dict[Paths, _Begun] = {}


def begin(paths: Paths) -> bool:
    """Start the first half beside us, unless a supervisor seems to be there; whether one was begun.

    Raises OSError.
    """
    if paths in _begun or os.path.exists(paths.socket):
        return False
    _begun[paths] = _forked(paths)
    return True


def call(paths: Paths) -> None:
    """Send the word to one that was begun, without waiting: it is needed soon."""
    begun = _begun.get(paths)
    if begun is None or begun.called:
        return
    _begun[paths] = begun._replace(called=True)
    try:
        begun.way.send(WORD)
    except OSError:  # it was killed; another is begun when needed
        _let_go(_begun.pop(paths))


def summon(paths: Paths) -> bytes:
    """Start a supervisor completely: READY or BUSY. Raises RuntimeFailed with its last output.

    One that is ready serves until `dismiss` at least.
    """
    if paths in _begun and _begun[paths].answered:  # it has exited since, or we would not be called
        dismiss(paths)
    try:
        said = _answer(paths)
        if said is None:  # none was begun, or it was killed before it was called
            _begun[paths] = _forked(paths)
            said = _answer(paths) or b""
    except OSError as error:
        raise _failed(paths, str(error)) from error
    if said.endswith(_ANSWERS):  # what precedes the answer is from its interpreter or the C library
        return said[-len(READY) :]
    with suppress(FileNotFoundError), open(paths.supervisor_log, "rb") as file:
        said = file.read()[-2000:] + said
    words = said.decode(errors="replace").strip().splitlines() or ["it said nothing"]
    raise _failed(paths, words[-1])


def _failed(paths: Paths, why: str) -> RuntimeFailed:
    return RuntimeFailed(f"the supervisor of {paths.fabric} did not start: {why}")


def dismiss(paths: Paths) -> None:
    """Release one that was begun, and wait until it has exited, or serves and knows."""
    if begun := _begun.pop(paths, None):
        _let_go(begun)


def _let_go(begun: _Begun) -> None:
    with suppress(OSError):  # it has exited
        begun.way.shutdown(SHUT_WR)
    with suppress(ChildProcessError):  # in a caller that ignores SIGCHLD there is none to wait for
        if os.waitpid(begun.pid, os.WNOHANG) == (0, 0):  # not waiting yet, or still its parent
            os.kill(begun.pid, signal.SIGKILL)
            os.waitpid(begun.pid, 0)
    with suppress(OSError):
        while begun.way.recv(_MOST):
            pass
    begun.way.close()


def _answer(paths: Paths) -> bytes | None:
    """Its answer to the word; None if it exited without reading that and without output."""
    call(paths)
    if paths not in _begun:
        return None
    begun, said, heard = _begun[paths], b"", True
    try:
        while not said.endswith(_ANSWERS) and (data := begun.way.recv(_MOST)):
            said += data
    except ConnectionError:  # of a socket whose other end was closed with the word unread
        heard = False
    if said.endswith(READY):
        _begun[paths] = begun._replace(answered=True)
    else:
        _let_go(_begun.pop(paths))
    return said if said or heard else None


def _forked(paths: Paths) -> _Begun:
    argv = sealed.command("supervisor", *paths)
    ours, theirs = pair()
    child = os.fork()
    if child == 0:
        _become(argv, theirs.fileno())
    theirs.close()
    return _Begun(child, ours)


def _become(argv: list[str], way: int) -> NoReturn:
    """Nothing of ours reaches a container through it: no environment, descriptor or signal state."""
    try:
        for number in range(3):
            os.dup2(way, number)
        close_on_exec_from(3)
        os.setsid()
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            if signal.getsignal(number) == signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        mounts = os.open("/proc/self/ns/mnt", os.O_RDONLY)
        os.set_inheritable(mounts, True)
        sealed.execute([*argv, str(mounts)])
    except BaseException as error:
        os.write(way, str(error).encode(errors="replace"))
    finally:
        os._exit(127)
