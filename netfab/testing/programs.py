"""Programs that a test runs in nodes: their output is kept, and can be waited for."""

from __future__ import annotations

import os
import re
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import BinaryIO, cast

from netfab.system.files import IN_MODIFY, watch, watch_init
from netfab.system.poll import readable
from netfab.testing import inside
from netfab.testing.descendants import ENDING
from netfab.testing.inside import Place
from netfab.testing.sandboxes import Sandbox
from netfab.tuples import NamedTuple


class Result(NamedTuple):
    """The result of a program."""

    rc: int  # its exit status; negative: the signal that killed it
    out: str
    err: str
    seconds: float


class Failed(AssertionError):
    """A program did not end as expected."""

    def __init__(self, node: str, argv: Sequence[str], what: str, result: Result) -> None:
        said = "".join(
            f"\n{name}:\n{text}" for name, text in (("stdout", result.out), ("stderr", result.err)) if text
        )
        super().__init__(f"{node}: {' '.join(argv)}: {what}{said}")
        self.result = result


class Program:
    """A program that runs in a node, or ran. It ends with the fabric, at the latest."""

    def __init__(
        self, sandbox: Sandbox, place: Place, argv: Sequence[str], input: str, env: Mapping[str, str]
    ) -> None:
        self.node, self.argv = place.node, tuple(argv)
        self._begun = time.monotonic()
        self._out, self._err = _file(), _file()
        self._code: int | None = None
        self._seconds = 0.0
        with tempfile.TemporaryFile() as given:
            given.write(input.encode())
            given.seek(0)
            fds = [file.fileno() for file in (given, self._out, self._err)]
            self._line, _, _ = sandbox.talk(inside.execute, fds, place, self.argv, dict(env))

    @property
    def out(self) -> str:
        """Its standard output so far."""
        return _text(self._out)

    @property
    def err(self) -> str:
        """Its standard error so far."""
        return _text(self._err)

    @property
    def runs(self) -> bool:
        """Whether it is running. Unlike `poll`, never raises over how it ended."""
        return self._code is None and not self._line.waits(0)

    def poll(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._ended(0)

    def wait(self, timeout: float = 30) -> Result:
        """Wait for its result. After `timeout` seconds it is killed, and Failed raised."""
        __tracebackhide__ = True
        if self._ended(timeout) is None:
            self.kill()
            self._ended(ENDING)
            raise Failed(self.node, self.argv, f"still runs after {timeout:g} s", self._result(0))
        return self._result(self._code or 0)

    def wait_for(self, pattern: str, within: float = 10) -> re.Match[str]:
        """Wait for a match in its output, on either stream. Raises Failed after `within` seconds."""
        __tracebackhide__ = True
        deadline = time.monotonic() + within
        changed = watch_init()
        try:
            for file in (self._out, self._err):
                watch(changed, f"/proc/self/fd/{file.fileno()}", IN_MODIFY)
            while True:
                ended = self.poll() is not None  # polled before reading, so that its last output is seen
                if match := re.search(pattern, self.out, re.M) or re.search(pattern, self.err, re.M):
                    return match
                left = deadline - time.monotonic()
                if ended or left <= 0:
                    what = "ended" if ended else f"ran for {within:g} s"
                    raise Failed(self.node, self.argv, f"{what} and never said {pattern!r}", self._result(0))
                if changed in readable([changed, self._line.fileno()], left):
                    os.read(changed, 4096)
        finally:
            os.close(changed)

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL it and what it started; processes that left it in a container end with the container."""
        self._signal(signal.SIGKILL)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._ended(ENDING)

    def _signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(BrokenPipeError, ConnectionResetError):  # it has just ended
                self._line.tell(number)

    def _ended(self, seconds: float) -> int | None:
        __tracebackhide__ = True
        if self._code is None and self._line.waits(seconds):
            self._code, _ = self._line.hear()
            self._seconds = time.monotonic() - self._begun
            self._line.close()
        return self._code

    def _result(self, code: int) -> Result:
        return Result(code, self.out, self.err, self._seconds or time.monotonic() - self._begun)


def _file() -> BinaryIO:
    """An unlinked file, gone once this object and the program that writes to it have closed it."""
    return cast("BinaryIO", tempfile.TemporaryFile())


def _text(file: BinaryIO) -> str:
    """The whole content, regardless of the offset that we share with its writer."""
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode(errors="replace")
