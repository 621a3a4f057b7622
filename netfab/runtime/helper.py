"""What `exec` runs a command by: an interpreter that a guest can't write, and that may be begun ahead.

It waits for what to run on a pipe, because a command line can be read by everybody, and ends where nothing
comes.
"""

from __future__ import annotations

import os
import signal
from errno import EIO
from typing import NoReturn

from netfab.runtime import sealed
from netfab.system.process import close_on_exec_from
from netfab.tuples import NamedTuple

Streams = tuple[int, int, int]  # what becomes 0, 1 and 2

_OWN: Streams = (0, 1, 2)


class Helper(NamedTuple):
    """One that waits."""

    pid: int
    request: int  # pipe on which it is told what to run
    listen: int  # pipe on which it says what went wrong


_begun: list[Helper] = []


def begin() -> None:
    """Have one with our streams start beside us."""
    if sealed.must_be_sealed():
        _begun.append(_forked(_OWN))


def have(streams: Streams) -> Helper:
    """One that was begun, or another."""
    return _begun.pop() if _begun and streams == _OWN else _forked(streams)


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
        signal.signal(
            signal.SIGINT, signal.SIG_IGN
        )  # meant for the command, which has its own handling of it
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
