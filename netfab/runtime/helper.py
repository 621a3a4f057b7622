"""What `exec` runs a command by: an interpreter that a guest can't write, and that may be begun ahead.

It waits for what to run on a pipe, because a command line can be read by everybody, and ends where nothing
comes.
"""

from __future__ import annotations

import os
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


_begun: dict[bool, Helper] = {}  # by whether they are for a terminal


def begin(terminal: bool) -> None:
    """Have one with our streams start beside us."""
    if sealed.must_be_sealed():
        _begun[terminal] = _forked(terminal, _OWN)


def have(terminal: bool, streams: Streams) -> Helper:
    """The one that was begun, or another."""
    if streams == _OWN and terminal in _begun:
        return _begun.pop(terminal)
    return _forked(terminal, streams)


def _forked(terminal: bool, streams: Streams) -> Helper:
    (request, ours), (listen, report) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        _become(request, report, terminal, streams)
    os.close(request)
    os.close(report)
    return Helper(child, ours, listen)


def _become(request: int, report: int, terminal: bool, streams: Streams) -> NoReturn:
    try:
        for number, fd in enumerate(streams):
            os.dup2(fd, number)
        close_on_exec_from(3)
        os.set_inheritable(request, True)
        os.set_inheritable(report, True)
        if not terminal:
            os.setsid()  # what signals its process group from inside must not reach the caller's
        sealed.execute(sealed.command("exec", str(request), str(report)))
    except OSError as error:
        words = f"start a helper\0{error.errno or EIO}\0{error.filename or ''}"
        os.write(report, words.encode(errors="replace"))
    finally:
        os._exit(127)
