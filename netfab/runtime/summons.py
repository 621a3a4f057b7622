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

_MOST = 1 << 16  # bytes of its last words
_ANSWERS = (READY, BUSY)


class _Begun(NamedTuple):
    """One that waits for the word, or has it."""

    pid: int  # of our child, which ends as soon as its own one waits
    way: Socket  # leads there
    called: bool = False
    answered: bool = False


_begun: dict[Paths, _Begun] = {}


def begin(paths: Paths) -> bool:
    """Have the first half done beside us, unless a supervisor seems to be there; whether one was begun.

    Raises OSError.
    """
    if paths in _begun or os.path.exists(paths.socket):
        return False
    _begun[paths] = _forked(paths)
    return True


def call(paths: Paths) -> None:
    """Give the word to one that was begun, and do not wait for it: it is soon needed."""
    begun = _begun.get(paths)
    if begun is None or begun.called:
        return
    _begun[paths] = begun._replace(called=True)
    try:
        begun.way.send(WORD)
    except OSError:  # it was killed; who needs one begins another
        _let_go(_begun.pop(paths))


def summon(paths: Paths) -> bytes:
    """Have all of it done: READY or BUSY. Raises RuntimeFailed with its last words.

    One that is ready serves until `dismiss` at least.
    """
    if paths in _begun and _begun[paths].answered:  # it is there no more, or this would not be asked
        dismiss(paths)
    try:
        said = _answer(paths)
        if said is None:  # none was begun, or it was killed before it was called
            _begun[paths] = _forked(paths)
            said = _answer(paths) or b""
    except OSError as error:
        raise _failed(paths, str(error)) from error
    if said.endswith(_ANSWERS):  # before that, what its interpreter or the C library had to say
        return said[-len(READY) :]
    with suppress(FileNotFoundError), open(paths.supervisor_log, "rb") as file:
        said = file.read()[-2000:] + said
    words = said.decode(errors="replace").strip().splitlines() or ["it said nothing"]
    raise _failed(paths, words[-1])


def _failed(paths: Paths, why: str) -> RuntimeFailed:
    return RuntimeFailed(f"the supervisor of {paths.fabric} did not start: {why}")


def dismiss(paths: Paths) -> None:
    """Let go of one that was begun, and wait until it has ended, or serves and knows."""
    if begun := _begun.pop(paths, None):
        _let_go(begun)


def _let_go(begun: _Begun) -> None:
    with suppress(OSError):  # it has ended
        begun.way.shutdown(SHUT_WR)
    with suppress(ChildProcessError):  # a caller that ignores SIGCHLD has none to wait for
        if os.waitpid(begun.pid, os.WNOHANG) == (0, 0):  # nobody waits yet, or it is that one's parent
            os.kill(begun.pid, signal.SIGKILL)
            os.waitpid(begun.pid, 0)
    with suppress(OSError):
        while begun.way.recv(_MOST):
            pass
    begun.way.close()


def _answer(paths: Paths) -> bytes | None:
    """What it says to the word; None where it ended without having read that, and without any."""
    call(paths)
    if paths not in _begun:
        return None
    begun, said, heard = _begun[paths], b"", True
    try:
        while not said.endswith(_ANSWERS) and (data := begun.way.recv(_MOST)):
            said += data
    except ConnectionError:  # of a socket whose other end was closed with the word still in it
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
    """Nothing of ours reaches a container by way of it: no environment, no descriptor, no signal's state."""
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
