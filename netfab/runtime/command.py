"""Running a command in a container: fork, wait for it, and pass on signals and the terminal."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import NoReturn

from netfab.errors import ContainerFailed, NetfabError
from netfab.runtime import tty
from netfab.runtime.become import failure_of, receive_terminal, run_or_report
from netfab.runtime.relay import Relay
from netfab.runtime.streams import Streams
from netfab.system.poll import readable
from netfab.system.process import signal_with_parent
from netfab.system.sockets import Socket, pair

TIMED_OUT = 124  # exit status, as of timeout(1)
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LEFT = b"\1"  # a helper's report that a person has detached from the command

Steps = Callable[[Socket | None], Iterator[str]]  # what the child does, as in become.py
Leave = Callable[[], None]  # releases the process that waits for us


def run(
    name: str,
    enter: Steps,
    streams: Streams,
    timeout: float | None = None,
    leave: Leave | None = None,
    relay: Relay | None = None,
) -> int:
    """Run a command with these streams; its exit status. It is killed after `timeout` seconds.

    `leave` is called as soon as it runs. `relay`: what copies to and from its pipes.
    """
    child, report = _fork(enter, None)
    with passing_signals(lambda number: _signal_command(child, number, streams)):
        overdue = relay is not None and not relay.copied(child, timeout)
        if overdue:
            os.kill(child, signal.SIGKILL)
        code = wait(name, child, report, leave)
    return TIMED_OUT if overdue else code


def run_on_terminal(name: str, enter: Steps, streams: Streams, leave: Leave | None = None) -> int:
    """Run a command with a terminal of its own, connected to our streams.

    `leave` is called when a person detaches from it.
    """
    ours, theirs = pair()
    with theirs:
        child, report = _fork(enter, theirs)
    with ours, suppress(_HungUp), passing_signals(_hang_up):
        master = receive_terminal(ours)
        if master is not None:
            try:
                tty.relay(master, child, streams.stdin, streams.stdout, leave)
            finally:
                os.close(master)
    return wait(name, child, report)  # the holder of the terminal knows by now that it is gone


def _fork(enter: Steps, channel: Socket | None) -> tuple[int, int]:
    """The child's process id, and the pipe on which it reports a failure."""
    listen, report = os.pipe2(os.O_CLOEXEC)
    hold_back_signals()
    child = os.fork()
    if child == 0:
        for number in (signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        os.close(listen)
        run_or_report(_while_heard(enter(channel), report), report)
    os.close(report)
    return child, listen


def _while_heard(steps: Iterator[str], report: int) -> Iterator[str]:
    """Run these steps unless our caller has exited, perhaps before the parent-death signal was set up."""
    for step in steps:
        if readable([report], 0):
            os._exit(127)
        yield step


def wait(name: str, child: int, listen: int, begun: Leave | None = None) -> int:
    """A child's exit status; raises what it reports on its pipe, calls `begun` if that is nothing."""
    text = _said(listen)
    if text == _LEFT.decode():
        return 0
    if begun is not None and not text:
        begun()
    code = exit_code(child)
    if text:
        raise _failure(name, text)
    return code


def wait_until_left(name: str, child: int, listen: int) -> int:
    """0 once a command runs whose parent is that child's child; raises its failure to start."""
    text = _said(listen)
    exit_code(child)
    if text != _LEFT.decode():
        raise _failure(name, text or "who was to run the command was killed")
    return 0


def _said(listen: int) -> str:
    with os.fdopen(listen, "rb") as pipe:
        return pipe.read().decode(errors="replace")


def _failure(name: str, text: str) -> NetfabError:
    return failure_of(name, text) if "\0" in text else NetfabError(text)


def begin(name: str, run: Callable[[Leave], int], *needed: int) -> int:
    """Run a command from a process that is detached from ours; 0 once it runs.

    That process keeps only the `needed` ones of our descriptors: it may live for long.
    """
    listen, report = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        _begin_apart(report, run, needed)
    os.close(report)
    return wait_until_left(name, child, listen)


def _begin_apart(report: int, run: Callable[[Leave], int], needed: tuple[int, ...]) -> NoReturn:
    try:
        if os.fork():
            os._exit(0)
        connect_to_nothing(0, 1, 2)
        _close_but(0, 1, 2, report, *needed)
    except OSError as error:
        os.write(report, f"begin a command: {error.strerror}".encode(errors="replace"))
        os._exit(1)
    report_on(report, run)


def _close_but(*kept: int) -> None:
    numbers = sorted({*kept, 1 << 16})
    for before, after in pairwise(numbers):
        os.closerange(before + 1, after)


def report_on(report: int, run: Callable[[Leave], int]) -> NoReturn:
    """Run a command and exit as it does, or report what went wrong. `run` gets what releases our caller."""
    code = 1
    try:
        code = run(lambda: _leave(report))
    except ContainerFailed as error:
        os.write(report, f"{error.step}\0{error.errno}\0{error.path}".encode(errors="replace"))
        code = error.exit_code
    except NetfabError as error:
        os.write(report, error.message.encode(errors="replace"))
    except BaseException as error:
        os.write(report, f"{type(error).__name__}: {error}".encode(errors="replace"))
    os._exit(code)


def _leave(report: int) -> None:
    """Release our caller: from here on nobody waits for the command, and it outlives them."""
    signal_with_parent(0)
    if os.getsid(0) != os.getpid():
        os.setsid()
    connect_to_nothing(0, 1, 2)
    os.write(report, _LEFT)
    os.close(report)


def connect_to_nothing(*numbers: int) -> None:
    """Redirect these descriptors to /dev/null."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in numbers:
        os.dup2(null, number)
    os.close(null)


def _signal_command(child: int, number: int, streams: Streams) -> None:
    """Signal a command in its own session, or in our process group.

    An interrupt from our terminal reaches the latter by itself.
    """
    with suppress(ProcessLookupError):
        if os.getpgid(child) == child:
            os.killpg(child, number)
        elif number != signal.SIGINT or not any(map(os.isatty, streams)):
            os.kill(child, number)


def _hang_up(number: int) -> None:
    if number != signal.SIGINT:
        raise _HungUp


class _HungUp(Exception):
    """A signal arrived that ends the use of a terminal."""


def hold_back_signals() -> None:
    """Block terminating signals until `passing_signals`: before that there is no process to pass them to."""
    if threading.current_thread() is threading.main_thread():
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)


@contextmanager
def passing_signals(passed: Callable[[int], None]) -> Iterator[None]:
    """Pass terminating signals to the process that we wait for; ignored ones stay ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, lambda which, _: passed(which))
        for number in ENDING
        if signal.getsignal(number) != signal.SIG_IGN
    }
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_code(pid: int) -> int:
    """Wait for a child; its exit code, 128 + n for a signal."""
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return 128 - code if code < 0 else code
