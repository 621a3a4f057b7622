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
    """Finds the keys by which a person leaves a program to itself; of two, the first waits for the second."""

    def __init__(self) -> None:
        self.complete = False
        self._begun = False

    def passed(self, data: bytes) -> bytes:
        """What of it is the program's."""
        if self._begun:
            data = _DETACH[:1] + data
        before, found, _ = data.partition(_DETACH)
        self.complete = bool(found)
        self._begun = not found and before.endswith(_DETACH[:1])
        return before[:-1] if self._begun else before


def relay(master: int, child: int, stdin: int, stdout: int, leave: Callable[[], None] | None = None) -> None:
    """Copy until the command has ended and all that it wrote is shown.

    `leave`: called when the keys come that leave it to itself; from then on what it writes goes nowhere.
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
    """Until it is over; or, which is True, until the keys are complete.

    What the command does not read yet waits, and so does who types: what it writes is shown meanwhile.
    """
    os.set_blocking(master, False)
    waiting, line_has_ended = b"", True
    while True:
        ready = _ready(master, pidfd, None if waiting else stdin, bool(waiting))
        if stdin is not None and stdin in ready:
            data = os.read(stdin, _CHUNK)
            waiting = keys.passed(data) if keys else data
            if not data:  # where a line has not ended, the first one ends that
                stdin, waiting = None, _END_OF_INPUT if line_has_ended else 2 * _END_OF_INPUT
            line_has_ended = waiting.endswith((b"\n", b"\r")) if waiting else line_has_ended
        waiting = waiting[_taken(master, waiting) :]
        if keys is not None and keys.complete:
            return True
        if ready.get(master, 0) & ~select.POLLOUT:
            if not _show(master, stdout):
                return False
        elif pidfd in ready:  # over, and nothing more to show: others may hold the terminal open
            return False


def _ready(master: int, pidfd: int, stdin: int | None, writes: bool) -> dict[int, int]:
    """Descriptors at which there is something, and what."""
    poll = select.poll()
    poll.register(master, select.POLLIN | (select.POLLOUT if writes else 0))
    for fd in (pidfd, *([] if stdin is None else [stdin])):
        poll.register(fd, select.POLLIN)
    return dict(poll.poll())


def _taken(master: int, data: bytes) -> int:
    """How many bytes of it the terminal has room for; all, where nobody has the other end any more."""
    try:
        return os.write(master, data) if data else 0
    except BlockingIOError:
        return 0
    except OSError:  # EIO
        return len(data)


def _show(master: int, stdout: int | None) -> bool:
    try:
        data = os.read(master, _CHUNK)
    except OSError:  # EIO: nobody has the other end any more
        return False
    if stdout is not None:
        write(stdout, data)
    return bool(data)


def write(fd: int, data: bytes) -> None:
    """All of it."""
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
    """Every key goes through as it is, if that is a terminal at all."""
    if not os.isatty(fd):
        yield
        return
    before = termios.tcgetattr(fd)
    tty.setraw(fd, termios.TCSADRAIN)  # what was typed ahead stays
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
