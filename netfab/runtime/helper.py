"""The interpreter that `exec` runs a command by: one that a guest can't overwrite, and that may start ahead.

It reads what to run from a pipe, because anybody can read a command line, and ends if nothing comes.
"""

from __future__ import annotations

import os
import signal
from errno import EIO
from typing import NoReturn

from netfab.runtime import sealed
from netfab.runtime.streams import OWN_STREAMS, Streams
from netfab.system.process import close_on_exec_from
from netfab.tuples import NamedTuple


class Helper(NamedTuple):
    """A helper that waits."""

    pid: int
    request: int  # pipe on which it receives what to run
    listen: int  # pipe on which it reports failures


_begun: list[Helper] = []


def begin() -> None:
    """Start one beside us, with our streams."""
    if sealed.must_be_sealed():
        _begun.append(_forked(OWN_STREAMS))


def dismiss() -> None:
    """Stop those that were begun and never used."""
    while _begun:
        begun = _begun.pop()
        os.kill(begun.pid, signal.SIGKILL)
        os.waitpid(begun.pid, 0)
        os.close(begun.request)
        os.close(begun.listen)


def ask(streams: Streams, request: bytes) -> Helper:
    """A helper that was begun, or a new one, that has received what to run."""
    found = _begun.pop() if _begun and streams == OWN_STREAMS else _forked(streams)
    if not _told(found, request):  # it was killed before, or can't start, which the next one will report
        os.close(found.listen)
        os.waitpid(found.pid, 0)
        found = _forked(streams)
        _told(found, request)
    return found


def _told(found: Helper, request: bytes) -> bool:
    try:
        with open(found.request, "wb") as pipe:
            pipe.write(request)
    except BrokenPipeError:
        return False
    return True


def _forked(streams: Streams) -> Helper:
    (request, ours), (listen, report) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        _become(request, report, streams)
    os.close(request)
    os.close(report)
    return Helper(child, ours, listen)


def _become(request: int, report: int, streams: Streams) -> NoReturn:
    try:
        # An interrupt is for the command, which handles it in its own way.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for number, fd in enumerate(streams):
            os.dup2(fd, number)
        close_on_exec_from(3)
        os.set_inheritable(request, True)
        os.set_inheritable(report, True)
        sealed.execute(sealed.command("exec", str(request), str(report)))
    except OSError as error:
        words = f"start a helper\0{error.errno or EIO}\0{error.filename or ''}"
        os.write(report, words.encode(errors="replace"))
    finally:
        os._exit(127)
