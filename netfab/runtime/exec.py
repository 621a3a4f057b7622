"""Running a command in a node, from the caller: the supervisor has no part in it.

In a container the command joins its namespaces and cgroup and gets its rights, no more. In a node without a
process it gets the node's network, names and host name on the host's own files, with all rights of the
caller. While a process of ours stands in a guest's mount namespace it imports and opens nothing there but
below a descriptor of the root.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

from netfab.errors import BECOME, IDENTIFY, ContainerFailed, NetfabError
from netfab.runtime import cgroups, helper, sealed, tty
from netfab.runtime.confine import every_right, give_up, lock, rights_with
from netfab.runtime.identity import identify
from netfab.runtime.paths import Paths
from netfab.runtime.record import read_record
from netfab.runtime.spawn import (
    connect_output,
    enter_directory,
    environment,
    execute,
    failure_of,
    join_cgroups,
    receive_terminal,
    reset_signals,
    run_or_report,
    send_terminal,
)
from netfab.runtime.spec import capabilities_of
from netfab.runtime.status import PAUSED, status_of
from netfab.system import linux
from netfab.system.devpts import open_terminal
from netfab.system.process import (
    clone,
    close_on_exec_from,
    die_with_parent,
    hide_from_ptrace,
    signal_with_parent,
)
from netfab.tuples import NamedTuple

_JOINED = (
    linux.CLONE_NEWNS | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC | linux.CLONE_NEWPID | linux.CLONE_NEWNET
)


class Streams(NamedTuple):
    """What becomes 0, 1 and 2 of the command, or is copied to and from its terminal."""

    stdin: int = 0
    stdout: int = 1
    stderr: int = 2


OWN_STREAMS = Streams()  # the caller's
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LEFT = b"\1"  # what a helper reports when a person has left the command to itself
TIMED_OUT = 124  # exit status, as of timeout(1)

Run = Callable[[socket.socket | None], Iterator[str]]  # the steps of the child, as in spawn.py


def run_in_container(
    paths: Paths,
    name: str,
    argv: tuple[str, ...],
    *,
    privileged: bool = False,
    user: str | None = None,
    workdir: str | None = None,
    env: tuple[tuple[str, str], ...] = (),
    terminal: bool = False,
    streams: Streams = OWN_STREAMS,
    timeout: float | None = None,
) -> int:
    """Run a command beside a container's own process; its exit status, 128 + n for a signal.

    `user` and `workdir` None: the container's own. It is killed after `timeout` seconds, which is TIMED_OUT.

    Raises ContainerFailed (whose exit_code is 126 or 127) when it can't be run, NetfabError when the
    container isn't up.
    """
    if not sealed.must_be_sealed():
        return _run_beside(paths, name, argv, privileged, user, workdir, env, terminal, streams, timeout)
    what = [list(paths), name, argv, privileged, user, workdir, env, terminal, timeout]
    _hold_back_signals()
    found = helper.have(streams)
    with suppress(BrokenPipeError), open(found.request, "wb") as pipe:  # of one that has ended, we hear
        pipe.write(json.dumps(what).encode())
    with _passing_signals(lambda number: _signal_helper(found.pid, number, terminal)):
        return _wait(name, found.pid, found.listen)


def main(request: str, report: str) -> None:
    """A helper's life: run what the caller asks for, from a sealed interpreter."""
    die_with_parent()
    os.set_inheritable(int(report), False)
    with open(int(request), "rb") as pipe:
        asked = pipe.read()
    if not asked:  # our caller needed no helper, or is gone
        os._exit(0)
    paths, name, argv, privileged, user, workdir, env, terminal, timeout = json.loads(asked)
    if not terminal:
        os.setsid()  # what signals its process group from inside must not reach the caller's
    variables = tuple((key, value) for key, value in env)
    try:
        code = _run_beside(
            Paths(*paths), name, tuple(argv), privileged, user, workdir, variables, terminal, OWN_STREAMS,
            timeout, lambda: _leave(int(report)),
        )  # fmt: skip
    except ContainerFailed as error:
        os.write(int(report), f"{error.step}\0{error.errno}\0{error.path}".encode(errors="replace"))
        os._exit(error.exit_code)
    except NetfabError as error:
        os.write(int(report), error.message.encode(errors="replace"))
        os._exit(1)
    os._exit(code)


def _leave(report: int) -> None:
    """Let our caller go: from here on nobody looks at the command, and it does not end with them."""
    signal_with_parent(0)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    os.write(report, _LEFT)
    os.close(report)


class _HungUp(Exception):
    """A signal came that ends the use of a terminal."""


def _hold_back_signals() -> None:
    """Signals that end us wait until `_passing_signals`: till then there is nobody to pass them on to."""
    if threading.current_thread() is threading.main_thread():
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)


@contextmanager
def _passing_signals(passed: Callable[[int], None]) -> Iterator[None]:
    """Signals that end us are passed on instead, to what we wait for; an ignored one stays ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, lambda which, _: passed(which))
        for number in _ENDING
        if signal.getsignal(number) != signal.SIG_IGN
    }
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _signal_helper(child: int, number: int, terminal: bool) -> None:
    """And what it runs, which is in its process group; an interrupt of our terminal is its own already."""
    with suppress(ProcessLookupError):
        if not terminal and os.getpgid(child) == child:  # else it has not begun
            os.killpg(child, number)
        elif not terminal or number != signal.SIGINT:
            os.kill(child, number)


def _signal_command(child: int, number: int, stdin: int) -> None:
    """An interrupt of a terminal comes to the command by itself: both are in one process group."""
    if number != signal.SIGINT or not os.isatty(stdin):
        with suppress(ProcessLookupError):
            os.kill(child, number)


def _hang_up(number: int) -> None:
    if number != signal.SIGINT:
        raise _HungUp


def _run_beside(
    paths: Paths,
    name: str,
    argv: tuple[str, ...],
    privileged: bool,
    user: str | None,
    workdir: str | None,
    env: tuple[tuple[str, str], ...],
    terminal: bool,
    streams: Streams,
    timeout: float | None,
    leave: Callable[[], None] | None = None,
) -> int:
    """What run_in_container does, from an interpreter that a guest can't write."""
    found = status_of(paths, name)
    if found is None or not found.pid:
        raise NetfabError(f"{name} does not run")
    if found.state == PAUSED:
        raise NetfabError(f"{name} is paused: `netfab unpause {name}` lets it go on")
    pidfd = _open_process(paths, name, found.pid)
    leaves = cgroups.existing_leaves(name, cgroups.find_hierarchies(paths))
    cgroup = next(
        (os.open(leaf.path, os.O_PATH | os.O_CLOEXEC) for leaf in leaves if not leaf.controllers), None
    )
    spec = found.spec._replace(
        env=(*found.spec.env, *env),
        user=found.spec.user if user is None else user,
        workdir=found.spec.workdir if workdir is None else workdir,
    )
    rights = every_right() if privileged else rights_with(capabilities_of(spec))

    def enter(channel: socket.socket | None) -> Iterator[str]:
        yield "join its cgroups"
        die_with_parent()
        hide_from_ptrace()
        join_cgroups(tuple(cgroups.join_paths(leaves)))
        yield "enter its namespaces"
        linux.setns(pidfd, _JOINED)
        # Only children are in the process namespace. The cgroup namespace comes after the birth into its
        # cgroup, which the kernel may refuse from within (nsdelegate).
        if child := clone(0, cgroup).pid:
            _outlive(child)
        linux.setns(pidfd, linux.CLONE_NEWCGROUP)
        yield IDENTIFY
        root = os.open("/", os.O_PATH | os.O_CLOEXEC)
        identity = identify(root, "" if privileged else spec.user)
        yield "open its terminal" if terminal else "open its output"
        _connect(streams, channel, lambda: open_terminal(root, identity.uid))
        yield BECOME
        give_up(rights, identity)
        die_with_parent()
        yield "enter its working directory"
        enter_directory(spec.workdir)
        reset_signals()
        os.umask(0o022)
        yield "lock its rights"
        lock(rights)
        yield "run"
        execute(argv, environment(spec.env, identity, spec.hostname or spec.name, terminal))

    try:
        if terminal:
            return _run_on_terminal(name, enter, streams, leave)
        return _run(name, enter, streams, timeout)
    finally:
        os.close(pidfd)
        if cgroup is not None:
            os.close(cgroup)


def _open_process(paths: Paths, name: str, pid: int) -> int:
    """A descriptor of the container's process, which is still that one after it was opened."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        raise NetfabError(f"{name} does not run") from None
    known = read_record(paths.record(name))
    if known is None or known.pid != pid or not known.lives:
        os.close(pidfd)
        raise NetfabError(f"{name} does not run")
    return pidfd


def run_in_namespace(
    netns: int,
    argv: tuple[str, ...],
    *,
    hostname: str,
    hosts_file: str = "",
    resolv_conf: str = "",
    workdir: str | None = None,
    env: Mapping[str, str] | None = None,
    terminal: bool = False,
    streams: Streams = OWN_STREAMS,
) -> int:
    """Run a command of the host in a node that has a network namespace and no process; its exit status.

    `workdir` and `env` None: the caller's own. Raises ContainerFailed when it can't be run.
    """
    shown = dict(os.environ if env is None else env)

    def enter(channel: socket.socket | None) -> Iterator[str]:
        yield "enter its network"
        die_with_parent()
        linux.setns(netns, linux.CLONE_NEWNET)
        linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWUTS)
        linux.mount("", "/", flags=linux.MS_SLAVE | linux.MS_REC)
        socket.sethostname(hostname)
        yield "show its names"
        for source, target in ((hosts_file, "/etc/hosts"), (resolv_conf, "/etc/resolv.conf")):
            if source and os.path.exists(target):
                linux.mount(source, os.path.realpath(target), flags=linux.MS_BIND)
        with suppress(OSError):  # refused where our own /sys is not whole; /sys/class/net is then the host's
            linux.mount("sysfs", "/sys", "sysfs", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
        if workdir is not None:
            yield "enter its working directory"
            os.chdir(workdir)
        yield "run"
        _connect(streams, channel, os.openpty)
        reset_signals()
        execute(argv, shown)

    return _run_on_terminal(hostname, enter, streams) if terminal else _run(hostname, enter, streams)


def _connect(streams: Streams, channel: socket.socket | None, opened: Callable[[], tuple[int, int]]) -> None:
    """The streams become the command's; or one end of a new terminal, whose other one goes to our caller."""
    if channel is None:
        connect_output(*streams)
        return
    master, slave = opened()
    if os.isatty(streams.stdin):
        tty.copy_size(streams.stdin, master)
    send_terminal(channel, master)
    os.login_tty(slave)
    close_on_exec_from(3)


def _outlive(child: int) -> None:
    """Wait for the command, then end as it did. Signals to our process group are the command's, not ours."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)
    os.closerange(0, 1 << 16)
    os._exit(_exit_code(child))


def _exit_code(pid: int) -> int:
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return 128 - code if code < 0 else code


def _run(name: str, enter: Run, streams: Streams, timeout: float | None = None) -> int:
    child, report = _fork(enter, None)
    with _passing_signals(lambda number: _signal_command(child, number, streams.stdin)):
        overdue = timeout is not None and not _ends_within(child, timeout)
        if overdue:
            os.kill(child, signal.SIGKILL)
        code = _wait(name, child, report)
    return TIMED_OUT if overdue else code


def _run_on_terminal(name: str, enter: Run, streams: Streams, leave: Callable[[], None] | None = None) -> int:
    ours, theirs = socket.socketpair()
    with theirs:
        child, report = _fork(enter, theirs)
    with ours, suppress(_HungUp), _passing_signals(_hang_up):
        master = receive_terminal(ours)
        if master is not None:
            try:
                tty.relay(master, child, streams.stdin, streams.stdout, leave)
            finally:
                os.close(master)
    return _wait(name, child, report)  # who had the terminal has been told by now that it is gone


def _ends_within(child: int, seconds: float) -> bool:
    pidfd = os.pidfd_open(child)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    try:
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(pidfd)


def _fork(enter: Run, channel: socket.socket | None) -> tuple[int, int]:
    """The child's number, and the pipe on which it says what went wrong."""
    listen, report = os.pipe2(os.O_CLOEXEC)
    _hold_back_signals()
    child = os.fork()
    if child == 0:
        for number in (signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        run_or_report(enter(channel), report)
    os.close(report)
    return child, listen


def _wait(name: str, child: int, listen: int) -> int:
    with os.fdopen(listen, "rb") as pipe:
        text = pipe.read().decode(errors="replace")
    if text == _LEFT.decode():
        return 0
    code = _exit_code(child)
    if "\0" in text:
        raise failure_of(name, text)
    if text:
        raise NetfabError(text)
    return code
