"""A program in the foreground: its output is shown, input and signals are passed on.

The program writes to its log like any other, and the viewer reads that: the program outlives the viewer. For
a terminal, the viewer has a copy of its other end, which the supervisor holds.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from netfab.errors import NetfabError
from netfab.runtime import client, tty
from netfab.runtime.handled import handles
from netfab.runtime.logs import next_byte
from netfab.runtime.paths import Paths
from netfab.runtime.protocol import MESSAGE_LIMIT
from netfab.runtime.status import Status, connect, status_of
from netfab.system import files
from netfab.system.rest import rest
from netfab.system.sockets import Socket, receive_descriptors
from netfab.tuples import NamedTuple

_CHUNK = 1 << 16
_PASSED_ON = (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
)  # fmt: skip
_EARLY = 0.1  # seconds in which a log is polled: ending an inotify watch takes up to 20 ms
_GLANCE = 10  # ms between two polls


class Detached(Exception):
    """The detach keys were typed."""


class View(NamedTuple):
    """What of a program is shown, and the descriptors used."""

    stdin: int | None = 0  # None: no input is passed on
    stdout: int = 1
    stderr: int = 2
    pipe: int = -1  # where input is written; for a terminal, requested from the supervisor
    terminal: bool = False
    heard: bool = True  # signals to the viewer are passed to the program


NOTHING = View(None, -1, -1, heard=False)


def pipe_to(paths: Paths, name: str) -> int:
    """The writing end of the pipe that a container will read from, before it is started.

    We hold the reading end open until the container does.
    """
    with suppress(FileExistsError):
        os.mkfifo(paths.stdin(name), 0o600)
    return os.open(paths.stdin(name), os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


@contextmanager
def minding(paths: Paths, name: str) -> Iterator[None]:
    """If this context ends by an exception or a kill, the supervisor removes the container."""
    try:
        door = connect(paths)
    except OSError:  # it has exited already
        yield
        return
    with door:
        with suppress(ConnectionError):  # it is exiting
            _tell(door, {"verb": "mind", "name": name})
        yield
        with suppress(ConnectionError):
            _answer(door)  # unread, it would make the kernel drop what is sent next
            _tell(door, {"verb": "mind", "name": ""})


def _tell(door: Socket, request: dict[str, str]) -> None:
    """Send without waiting for an answer: it is received even if the sender is killed."""
    door.send(json.dumps(request).encode())


def _answer(door: Socket) -> list[int]:
    return receive_descriptors(door, MESSAGE_LIMIT, 1)[1]


def _ask(door: Socket, request: dict[str, str]) -> list[int]:
    _tell(door, request)
    return _answer(door)


def _terminal(paths: Paths, name: str) -> list[int]:
    """The master of a program's terminal; none if the program or its supervisor has ended."""
    with suppress(OSError), connect(paths) as door:
        return _ask(door, {"verb": "terminal", "name": name})
    return []


def look_at(paths: Paths, name: str, view: View) -> Status:
    """Show it until it is over; how it ended. Raises Detached; NetfabError if it is removed meanwhile."""
    with _Look(paths, name, view) as look, look.prepared():
        return look.until_over()


class _Look:
    """What is read, and up to which offset."""

    def __init__(self, paths: Paths, name: str, view: View) -> None:
        self._paths, self._name, self._view = paths, name, view
        shown = ((paths.log(name), view.stdout), (paths.errors(name), view.stderr))
        self._outputs = list(_outputs(shown))
        self._watching_from = time.monotonic() + _EARLY
        self._input: _Input | None = None
        self._logs = self._terminal = -1

    def __enter__(self) -> _Look:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in (self._logs, self._terminal, *(output.fd for output in self._outputs)):
            if fd != -1:
                os.close(fd)
        if self._input is not None:
            self._input.close()

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """Input prepared: a terminal in raw mode meanwhile, and signals passed on."""
        stdin = self._view.stdin
        if not self._view.terminal:
            if stdin is not None:
                self._input = _Input(stdin, self._view.pipe)
            with self._hearing(_PASSED_ON if self._view.heard else ()):
                yield
            return
        ends = _terminal(self._paths, self._name)
        self._terminal = ends[0] if ends else -1
        if ends and stdin is not None:
            self._input = _Input(stdin, os.dup(self._terminal), tty.Keys())
        with tty.raw(0 if stdin is None else stdin), self._hearing((*_PASSED_ON, signal.SIGWINCH)):
            self._resize()
            yield

    @contextmanager
    def _hearing(self, numbers: Iterable[signal.Signals]) -> Iterator[None]:
        """Signals become bytes on a pipe, except ignored ones."""
        self._signals, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        heard = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
        woken = signal.set_wakeup_fd(write, warn_on_full_buffer=False) if heard else -1
        before = {number: signal.signal(number, lambda *_: None) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            if heard:
                signal.set_wakeup_fd(woken)
            os.close(self._signals)
            os.close(write)

    def until_over(self) -> Status:
        """Copy both ways until it has ended and all its output is shown."""
        while True:
            found = self._status()  # first check whether it is over: nothing is written after that
            self._copy()
            if found.over:
                return found
            if door := self._asked():
                with door:
                    self._wait(door.fileno())
                    _hear(door)
                if not self._status().over:  # not recorded yet: it has just been killed, or the disk is full
                    rest(_GLANCE / 1000, [self._signals])

    def _status(self) -> Status:
        found = status_of(self._paths, self._name)
        if found is None:
            raise NetfabError(f"{self._name} was removed")
        return found

    def _copy(self) -> None:
        for output in self._outputs:
            output.copy()

    def _asked(self) -> Socket | None:
        """Where the supervisor reports its end; None if it may be over, since there is no supervisor."""
        try:
            door = connect(self._paths)
        except OSError:
            if not self._status().over:  # the supervisor was killed: its successor will know
                client.ensure_supervisor(self._paths)
            return None
        with suppress(ConnectionError):
            door.send(json.dumps({"verb": "wait", "names": [self._name]}).encode())
        return door

    def _wait(self, door: int) -> None:
        """Wait until it may be over; meanwhile pass on input and output."""
        while True:
            ready = self._ready(door)
            if self._signals in ready:
                for number in os.read(self._signals, _CHUNK):
                    self._pass_on(number)
            if self._input is not None and self._input.move(ready):
                self._input.close()
                self._input = None
            if self._logs in ready:
                os.read(self._logs, _CHUNK)
            self._copy()
            if door in ready:
                return

    def _ready(self, door: int) -> set[int]:
        """Descriptors that are readable, or that may be: returns soon if there are none."""
        poll = select.poll()
        for fd in (door, self._signals):
            poll.register(fd, select.POLLIN)
        if self._input is not None:
            self._input.register(poll)
        if self._logs == -1 and time.monotonic() > self._watching_from:
            self._watch()
        if self._logs == -1:
            return {fd for fd, _ in poll.poll(_GLANCE)}
        poll.register(self._logs, select.POLLIN)
        return {fd for fd, _ in poll.poll()}

    def _watch(self) -> None:
        self._logs = files.watch_init()
        for output in self._outputs:
            with suppress(FileNotFoundError):  # it was removed, as its status will tell
                files.watch(self._logs, output.path, files.IN_MODIFY)
        self._copy()  # what was written since the last look

    def _pass_on(self, number: int) -> None:
        if number == signal.SIGWINCH:
            self._resize()
            return
        with suppress(NetfabError):  # it has just ended
            pid = self._status().pid
            if pid and not handles(pid, number):
                number = signal.SIGKILL  # the kernel drops signals that a process 1 does not handle
            client.send_signal(self._paths, [self._name], number)

    def _resize(self) -> None:
        """Give the program's terminal the size of ours; no-op if ours is none, or that one is gone."""
        if self._terminal != -1:
            with suppress(OSError):
                tty.copy_size(self._view.stdout, self._terminal)


def _hear(door: Socket) -> None:
    """The supervisor's answer at the end of a wait; none if it was killed. Raises RuntimeFailed."""
    with suppress(ConnectionError):
        if answer := door.recv(MESSAGE_LIMIT):
            client.read_answer(answer)


class _Output:
    """A log, shown from its beginning."""

    def __init__(self, path: str, to: int) -> None:
        self.path, self._to, self._offset = path, to, 0
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def copy(self) -> None:
        """Write what is new. Raises BrokenPipeError."""
        while True:
            start = next_byte(self.fd, self._offset)
            data = os.pread(self.fd, _CHUNK, start)
            self._offset = start + len(data)
            if not data:
                return
            tty.write(self._to, data)


def _outputs(shown: Iterable[tuple[str, int]]) -> Iterator[_Output]:
    """The logs among those shown that exist."""
    for path, to in shown:
        if to != -1:
            with suppress(FileNotFoundError):
                yield _Output(path, to)


class _Input:
    """Copies input to the program; while the program does not read, input waits, and so does its writer."""

    def __init__(self, source: int, to: int, keys: tty.Keys | None = None) -> None:
        self._source, self._to, self._keys = source, to, keys
        os.set_blocking(to, False)
        self._waiting = b""

    def register(self, poll: select.poll) -> None:
        """What to poll for."""
        if self._waiting:
            poll.register(self._to, select.POLLOUT)
        else:
            poll.register(self._source, select.POLLIN)

    def move(self, ready: set[int]) -> bool:
        """Pass on what there is; whether that was all. Raises Detached."""
        if self._source in ready and not self._waiting:
            data = os.read(self._source, _CHUNK)
            if not data:
                return True
            self._waiting = data if self._keys is None else self._keys.passed(data)
        try:
            self._waiting = self._waiting[os.write(self._to, self._waiting) :] if self._waiting else b""
        except BlockingIOError:
            return False
        except OSError:  # no reader is left
            return True
        if self._keys is not None and self._keys.complete and not self._waiting:
            raise Detached
        return False

    def close(self) -> None:
        """There is no more input."""
        os.close(self._to)
