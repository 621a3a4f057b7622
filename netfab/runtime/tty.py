"""Connecting a person's terminal to a command's pseudo terminal.

The master end is copied to and from the person's terminal, which is raw meanwhile and always restored at the
end (pty(7), termios(3)).
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_CHUNK = 1 << 16
_END_OF_INPUT = b"\x04"
_DETACH = b"\x10\x11"  # ctrl-p ctrl-q, docker's


class Keys:
    """Finds the detach keys in the input; the first of the two is held back until the next key."""

    def __init__(self) -> None:
        self.complete = False
        self._begun = False

    def passed(self, data: bytes) -> bytes:
        """The part of the input that is for the program."""
        if self._begun:
            data = _DETACH[:1] + data
        before, found, _ = data.partition(_DETACH)
        self.complete = bool(found)
        self._begun = not found and before.endswith(_DETACH[:1])
        return before[:-1] if self._begun else before


def relay(master: int, child: int, stdin: int, stdout: int, leave: Callable[[], None] | None = None) -> None:
    """Copy until the command has ended and all its output is shown.

    `leave`: called when the detach keys are typed; later output is discarded.
    """
    pidfd = os.pidfd_open(child)
    try:
        with raw(stdin), _resized(stdin, master):
            left = _copy(master, pidfd, stdin, stdout, None if leave is None else Keys())
        if left and leave is not None:
            leave()
            _copy(master, pidfd, None, None, None)
    finally:
        os.close(pidfd)


def _copy(master: int, pidfd: int, stdin: int | None, stdout: int | None, keys: Keys | None) -> bool:
    """Copy until it is over (False), or the detach keys are complete (True).

    While the command does not read, input waits, and so does its writer; output is shown meanwhile.
    """
    os.set_blocking(master, False)
    waiting, line_has_ended = b"", True
    while True:
        ready = _ready(master, pidfd, None if waiting else stdin, bool(waiting))
        if stdin is not None and stdin in ready:
            data = os.read(stdin, _CHUNK)
            waiting = keys.passed(data) if keys else data
            if not data:  # end-of-file: on an unfinished line, the first one only ends that
                stdin, waiting = None, _END_OF_INPUT if line_has_ended else 2 * _END_OF_INPUT
            line_has_ended = waiting.endswith((b"\n", b"\r")) if waiting else line_has_ended
        waiting = waiting[_taken(master, waiting) :]
        if keys is not None and keys.complete:
            return True
        if ready.get(master, 0) & ~select.POLLOUT:
            if not _show(master, stdout):
                return False
        elif pidfd in ready:  # over, and all output shown: others may hold the terminal open
            return False


def _ready(master: int, pidfd: int, stdin: int | None, writes: bool) -> dict[int, int]:
    """Descriptors that are ready, and their events."""
    poll = select.poll()
    poll.register(master, select.POLLIN | (select.POLLOUT if writes else 0))
    for fd in (pidfd, *([] if stdin is None else [stdin])):
        poll.register(fd, select.POLLIN)
    return dict(poll.poll())


def _taken(master: int, data: bytes) -> int:
    """How many bytes the terminal took; all, if the other end is closed."""
    try:
        return os.write(master, data) if data else 0
    except BlockingIOError:
        return 0
    except OSError:  # EIO
        return len(data)


def _show(master: int, stdout: int | None) -> bool:
    try:
        data = os.read(master, _CHUNK)
    except OSError:  # EIO: the other end is closed
        return False
    if stdout is not None:
        write(stdout, data)
    return bool(data)


def write(fd: int, data: bytes) -> None:
    """Write all of it."""
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(fd, left) :]
        except BlockingIOError:  # others who have that terminal may have made it so
            writable = select.poll()
            writable.register(fd, select.POLLOUT)
            writable.poll()


@contextmanager
def raw(fd: int) -> Iterator[None]:
    """Raw mode, if that is a terminal at all."""
    if not os.isatty(fd):
        yield
        return
    before = termios.tcgetattr(fd)
    tty.setraw(fd, termios.TCSADRAIN)  # typed-ahead input stays
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def copy_size(fd: int, master: int) -> None:
    """Give a terminal the size of another. Raises OSError."""
    fcntl.ioctl(master, termios.TIOCSWINSZ, fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8)))


@contextmanager
def _resized(fd: int, master: int) -> Iterator[None]:
    """The command's terminal has the size of ours, now and when that changes."""
    if not os.isatty(fd):
        yield
        return

    def follow(number: int, frame: FrameType | None) -> None:
        copy_size(fd, master)

    copy_size(fd, master)  # it may have changed since the pair was made
    before = signal.signal(signal.SIGWINCH, follow)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
