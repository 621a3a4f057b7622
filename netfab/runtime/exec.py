"""Running a command in a node, from the caller: the supervisor takes no part.

In a container the command joins its namespaces and cgroup and gets its privileges, no more. In a node without
a process it gets the node's network, names and host name on the host's own files, with all privileges of the
caller. While a process of ours is in a guest's mount namespace it imports nothing, and opens nothing but
below a descriptor of the root.
"""

from __future__ import annotations

import json
import os
import signal
from _socket import sethostname
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial

from netfab.errors import BECOME, IDENTIFY, RUN, NetfabError
from netfab.runtime import cgroups, helper, inherited, sealed, tty
from netfab.runtime.become import (
    connect_output,
    enter_directory,
    environment,
    execute,
    join_cgroups,
    reset_signals,
    send_terminal,
)
from netfab.runtime.command import (
    ENDING,
    Leave,
    begin,
    connect_to_nothing,
    exit_code,
    hold_back_signals,
    passing_signals,
    report_on,
    run,
    run_on_terminal,
    wait,
    wait_until_left,
)
from netfab.runtime.confine import every_right, give_up, lock, rights_with
from netfab.runtime.identity import identify
from netfab.runtime.paths import Paths
from netfab.runtime.record import read_record
from netfab.runtime.relay import Relay
from netfab.runtime.spec import capabilities_of
from netfab.runtime.status import PAUSED, status_of
from netfab.runtime.streams import OWN_STREAMS, Streams
from netfab.system import linux
from netfab.system.calls import at_once
from netfab.system.devpts import open_terminal
from netfab.system.poll import readable
from netfab.system.process import (
    Clone,
    close_on_exec_from,
    die_with_parent,
    hide_from_ptrace,
)
from netfab.system.sockets import Socket
from netfab.tuples import NamedTuple

_JOINED = (
    linux.CLONE_NEWNS | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC | linux.CLONE_NEWPID | linux.CLONE_NEWNET
)


class _Wanted(NamedTuple):
    """What to run, and where."""

    name: str
    argv: tuple[str, ...]
    privileged: bool
    user: str | None
    workdir: str | None
    env: tuple[tuple[str, str], ...]
    terminal: bool
    timeout: float | None


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
    detached: bool = False,
) -> int:
    """Run a command beside a container's own process; its exit status, 128 + n for a signal.

    `user` and `workdir` None: the container's own. It is killed after `timeout` seconds; the status is
    TIMED_OUT then. `detached`: 0 as soon as it runs, without streams and terminal; nobody waits for its end.

    Raises ContainerFailed (whose exit_code is 126 or 127) when it can't be run, NetfabError when the
    container isn't up.
    """
    terminal = terminal and not detached
    wanted = _Wanted(name, argv, privileged, user, workdir, env, terminal, timeout)
    if not sealed.must_be_sealed():
        beside = partial(_run_beside, paths, wanted)
        return begin(name, partial(beside, OWN_STREAMS)) if detached else beside(streams)
    silent = _is_null(streams.stdin)  # as it is now; a helper begun earlier may have had another
    hold_back_signals()
    found = helper.ask(streams, json.dumps([paths, wanted, silent, detached]).encode())
    with passing_signals(lambda number: _signal_helper(found.pid, number, terminal)):
        return (wait_until_left if detached else wait)(name, found.pid, found.listen)


def _is_null(fd: int) -> bool:
    return os.fstat(fd).st_rdev == os.stat(os.devnull).st_rdev


def main(request: str, report: str) -> None:
    """A helper's main function: run what the caller asks for, from a sealed interpreter."""
    die_with_parent()
    os.set_inheritable(int(report), False)
    with open(int(request), "rb") as pipe:
        asked = pipe.read()
    if not asked or readable([int(report)], 0):  # our caller needed no helper, or has exited
        os._exit(0)
    paths, words, silent, detached = json.loads(asked)
    wanted = _Wanted(*words)
    wanted = wanted._replace(argv=tuple(wanted.argv), env=tuple((key, value) for key, value in wanted.env))
    if silent:
        connect_to_nothing(0)
    if detached:
        connect_to_nothing(0, 1, 2)
    if not wanted.terminal:
        os.setsid()  # a terminal's interrupt comes by way of our caller, once
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # and is passed on
    if detached and os.fork():
        os._exit(0)
    may_leave = wanted.terminal or detached
    report_on(
        int(report),
        lambda leave: _run_beside(Paths(*paths), wanted, OWN_STREAMS, leave if may_leave else None),
    )


def _signal_helper(child: int, number: int, terminal: bool) -> None:
    """Signal the helper, which passes it on; an interrupt on its own terminal has reached it already."""
    with suppress(ProcessLookupError):
        if not terminal and os.getpgid(child) == child:  # otherwise it has not begun
            os.killpg(child, number)
        elif not terminal or number != signal.SIGINT:
            os.kill(child, number)


def _run_beside(paths: Paths, wanted: _Wanted, streams: Streams, leave: Leave | None = None) -> int:
    """The part of run_in_container that runs in an interpreter a guest can't write to.

    `leave` is called when a person detaches from the terminal; without one, as soon as the command runs.
    """
    name = wanted.name
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
        env=(*found.spec.env, *wanted.env),
        user=found.spec.user if wanted.user is None else wanted.user,
        workdir=found.spec.workdir if wanted.workdir is None else wanted.workdir,
    )
    rights = every_right() if wanted.privileged else rights_with(capabilities_of(spec))
    relay = Relay(streams) if not wanted.terminal else None

    def enter(channel: Socket | None) -> Iterator[str]:
        yield "join its cgroups"
        die_with_parent()
        if relay is not None:
            os.setsid()  # a controlling terminal can be typed into (TIOCSTI), through /dev/tty
        inherited.let_go()
        at_once(hide_from_ptrace)
        at_once(join_cgroups, tuple(cgroups.join_paths(leaves)))
        yield "enter its namespaces"
        linux.setns(pidfd, _JOINED)
        # Only children are in the process namespace. The cgroup namespace is entered after the clone into its
        # cgroup, which the kernel may refuse from within (nsdelegate).
        if child := Clone(0, cgroup).make():
            _outlive(child)
        linux.setns(pidfd, linux.CLONE_NEWCGROUP)
        yield IDENTIFY
        root = os.open("/", os.O_PATH | os.O_CLOEXEC)
        identity = identify(root, "" if wanted.privileged else spec.user)
        yield "open its terminal" if wanted.terminal else "open its output"
        given = relay.streams if relay else streams
        _connect(given, channel, lambda: open_terminal(root, identity.uid))
        yield BECOME
        at_once(give_up, rights, identity)
        die_with_parent()
        yield "enter its working directory"
        enter_directory(spec.workdir)
        at_once(reset_signals)
        os.umask(0o022)
        yield "lock its rights"
        at_once(lock, rights)
        yield RUN
        variables = environment(spec.env, identity, spec.hostname or spec.name, wanted.terminal)
        at_once(execute, wanted.argv, variables)

    try:
        if wanted.terminal:
            return run_on_terminal(name, enter, streams, leave)
        return run(name, enter, streams, wanted.timeout, leave, relay)
    finally:
        os.close(pidfd)
        if cgroup is not None:
            os.close(cgroup)


def _open_process(paths: Paths, name: str, pid: int) -> int:
    """A descriptor of the container's process, verified after opening."""
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
    detached: bool = False,
) -> int:
    """Run a command of the host in a node that has a network namespace but no process; its exit status.

    `workdir` and `env` None: the caller's own. `detached` as in run_in_container. Raises ContainerFailed when
    it can't be run.
    """
    shown = dict(os.environ if env is None else env)

    def enter(channel: Socket | None) -> Iterator[str]:
        yield "enter its network"
        die_with_parent()
        linux.setns(netns, linux.CLONE_NEWNET)
        linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWUTS)
        linux.mount("", "/", flags=linux.MS_SLAVE | linux.MS_REC)
        sethostname(hostname)
        yield "show its names"
        for source, target in ((hosts_file, "/etc/hosts"), (resolv_conf, "/etc/resolv.conf")):
            if source and os.path.exists(target):
                linux.mount(source, os.path.realpath(target), flags=linux.MS_BIND)
        with suppress(OSError):  # refused if our own /sys is partly masked; /sys/class/net is then the host's
            linux.mount("sysfs", "/sys", "sysfs", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
        if workdir is not None:
            yield "enter its working directory"
            os.chdir(workdir)
        yield RUN
        _connect(streams, channel, os.openpty)
        at_once(reset_signals)
        at_once(execute, argv, shown)

    if detached:
        streams = OWN_STREAMS  # /dev/null then
        return begin(hostname, lambda leave: run(hostname, enter, streams, leave=leave), netns)
    return run_on_terminal(hostname, enter, streams) if terminal else run(hostname, enter, streams)


def _connect(streams: Streams, channel: Socket | None, opened: Callable[[], tuple[int, int]]) -> None:
    """Make the streams the command's; or open a new terminal, and send its master to our caller."""
    if channel is None:
        at_once(connect_output, *streams)
        return
    master, slave = opened()
    if os.isatty(streams.stdin):
        tty.copy_size(streams.stdin, master)
    send_terminal(channel, master)
    os.login_tty(slave)
    close_on_exec_from(3)


def _outlive(child: int) -> None:
    """Wait for the command, then exit as it did. Signals to our process group are for the command."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    os.closerange(0, 1 << 16)
    os._exit(exit_code(child))
