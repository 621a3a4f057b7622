"""A person at a terminal: reads what a command shows, and types."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager

from lab import PATIENCE, Lab


class Terminal:
    """The person's side."""

    def __init__(self, pid: int, fd: int) -> None:
        self._pid, self._fd, self._shown = pid, fd, b""

    def reads(self, text: str) -> str:
        """All until that text has come; it must come."""
        wanted = text.encode()
        while wanted not in self._shown:
            data = self._read()
            assert data, f"the command ended; it showed {self._shown!r}"
            self._shown += data
        before, _, self._shown = self._shown.partition(wanted)
        return before.decode().replace("\r", "")

    def _read(self) -> bytes:
        assert select.select([self._fd], [], [], PATIENCE)[0], f"nothing more than {self._shown!r}"
        try:
            return os.read(self._fd, 1 << 16)
        except OSError:  # EIO: nobody has the other side any more
            return b""

    def types(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def ends(self) -> int:
        """The command's exit status, when it has ended."""
        while self._read():
            continue
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        return os.waitstatus_to_exitcode(status)

    def close(self) -> None:
        os.close(self._fd)  # a hang-up
        if self._pid:
            os.waitpid(self._pid, 0)


@contextmanager
def at_terminal(lab: Lab, *words: str) -> Iterator[Terminal]:
    """The command, run by somebody who sits at a terminal of 24 by 80."""
    inside = [f"--target={lab.pid}", "--pid", "--mount", "--net", "--uts", "--ipc"]
    pid, fd = pty.fork()
    if pid == 0:
        os.execvp("nsenter", ["nsenter", *inside, *lab.words(*words)])
    person = Terminal(pid, fd)
    person.resize(24, 80)
    try:
        yield person
    finally:
        person.close()
