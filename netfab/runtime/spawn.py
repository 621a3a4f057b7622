"""Making a container's first process: clone3, and what the child does until exec.

The child is a copy of the supervisor that makes system calls and executes a program, nothing else: it imports
nothing (the file system below it is soon the guest's), and it tells its error as (step, errno, path) through
a socket that exec closes. What it needs is computed before it is born.
"""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import resource
import signal
import socket
import termios
from collections.abc import Iterator
from contextlib import ExitStack, suppress

from netfab import TYPE_CHECKING
from netfab.errors import BECOME, IDENTIFY, MOUNT, ContainerFailed
from netfab.runtime import rootfs
from netfab.runtime.confine import Rights, give_up, lock
from netfab.runtime.identity import Identity, identify
from netfab.runtime.layers import Layers, Part
from netfab.runtime.spec import DEFAULT_ENV, INIT, Spec
from netfab.system import linux
from netfab.system.devpts import open_terminal
from netfab.system.mounts import RESOLVE_BENEATH, open_below
from netfab.system.process import clone, close_on_exec_from, hide_from_ptrace
from netfab.system.trees import make_directories
from netfab.tuples import NamedTuple

if TYPE_CHECKING:
    from typing import NoReturn

_NAMESPACES = linux.CLONE_NEWNS | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC | linux.CLONE_NEWPID
_REPORT_LIMIT = 4096  # bytes
_TERMINAL = b"+"  # comes with the descriptor of one, before any report


class Birth(NamedTuple):
    """All that a new process needs."""

    spec: Spec
    parts: tuple[Part, ...]
    layers: Layers
    private: str  # directory of the upper and work layers
    log: str
    errors: str  # log of standard error; "": the same
    stdin: str  # pipe; "": none
    init: str  # program of the host; "": none
    netns: int
    rights: Rights
    cgroup: str | None  # v2 leaf to be born into
    cgroup_files: tuple[str, ...]  # v1 leaves to join
    cgroup_mounts: tuple[tuple[str, str], ...]
    open_files: tuple[int, int]  # RLIMIT_NOFILE: the supervisor has raised its own


class Newborn(NamedTuple):
    """A process on its way to exec. On the channel it waits for permission, and says what went wrong."""

    name: str
    pid: int
    pidfd: int
    channel: socket.socket


def spawn(birth: Birth) -> Newborn:
    """Start a container's process, up to its exec: that waits for `permit`. It ends if we do before."""
    ours, theirs = socket.socketpair()
    with theirs, ExitStack() as closing:
        log = _opened_log(birth.log, closing)
        errors = _opened_log(birth.errors, closing) if birth.errors else log
        stdin = _opened_pipe(birth, closing) if birth.stdin else None
        cgroup = None
        if birth.cgroup is not None:
            cgroup = os.open(birth.cgroup, os.O_PATH | os.O_CLOEXEC)
            closing.callback(os.close, cgroup)
        child = clone(_NAMESPACES, cgroup)
        if child.pid == 0:
            ours.close()
            run_or_report(_become(birth, (stdin, log, errors), theirs), theirs.fileno())
    return Newborn(birth.spec.name, child.pid, child.pidfd, ours)


def _opened_log(path: str, closing: ExitStack) -> int:
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    closing.callback(os.close, log)
    return log


def _opened_pipe(birth: Birth, closing: ExitStack) -> int:
    """The reading end of a pipe; of one that never ends, its writing end, too: the reader has it itself."""
    way = os.O_RDWR if birth.spec.stdin == "open" else os.O_RDONLY
    stdin = os.open(birth.stdin, way | os.O_NONBLOCK | os.O_CLOEXEC)
    closing.callback(os.close, stdin)
    os.set_blocking(stdin, True)
    return stdin


def permit(newborn: Newborn) -> None:
    """Let it run its program as soon as it is ready."""
    with suppress(BrokenPipeError):  # it has failed already, which await_exec will tell
        newborn.channel.send(b"!")


def await_exec(newborn: Newborn) -> int | None:
    """Wait until the program runs; our end of its terminal, where it has one.

    Raises ContainerFailed with the step that failed.
    """
    text, ends = b"", list[int]()
    with newborn.channel as channel, suppress(ConnectionResetError):  # killed before it said anything
        while data := socket.recv_fds(channel, _REPORT_LIMIT, 1):
            text = data[0].removeprefix(_TERMINAL)
            ends += data[1]
            if data[0] != _TERMINAL:
                break
    if text:
        for end in ends:
            os.close(end)
        raise failure_of(newborn.name, text.decode(errors="replace"))
    return ends[0] if ends else None


def failure_of(name: str, report: str) -> ContainerFailed:
    """What a child reported, as an error."""
    step, number, path = report.split("\0")
    return ContainerFailed(name, step, int(number), path)


def run_or_report(steps: Iterator[str], report: int) -> NoReturn:
    """Run a child's steps, the last of which is exec; tell which one failed and end."""
    step = "start"
    try:
        for step in steps:  # noqa: B007 (the last one begun is what failed)
            pass
    except OSError as error:
        _report(report, step, error.errno or errno.EIO, str(error.filename or ""))
    except BaseException as error:
        _report(report, step, errno.EINVAL, str(error))
    os._exit(127)


def _report(pipe: int, step: str, number: int, path: str) -> None:
    os.write(pipe, f"{step}\0{number}\0{path}".encode(errors="replace")[:_REPORT_LIMIT])


def _become(birth: Birth, streams: tuple[int | None, int, int], channel: socket.socket) -> Iterator[str]:
    """The child's life until exec. Each name that is yielded is of the step that follows."""
    spec = birth.spec
    yield "join its cgroups"
    gc.disable()  # a collection would copy every page of the supervisor's heap
    os.umask(0)
    hide_from_ptrace()
    join_cgroups(birth.cgroup_files)
    yield "enter its namespaces"
    linux.setns(birth.netns, linux.CLONE_NEWNET)
    linux.unshare(linux.CLONE_NEWCGROUP)
    socket.sethostname(spec.hostname or spec.name)
    os.setsid()
    yield "mount its root"
    root = rootfs.mount_root(birth.parts, birth.layers, birth.private)
    yield "mount /dev, /proc and /sys"
    rootfs.mount_kernel_filesystems(root, birth.layers, birth.cgroup_mounts)
    if birth.init:
        rootfs.bind_init(root, birth.init)
    yield MOUNT
    rootfs.bind_mounts(root, spec)
    yield "write its files"
    rootfs.write_files(root, spec)
    yield IDENTIFY
    user = identify(root, spec.user)
    yield "make its working directory"
    os.close(make_directories(root, spec.workdir))
    if spec.read_only:
        yield "make its root read-only"
        rootfs.make_read_only(root, birth.parts)
    yield "enter its root"
    rootfs.enter_root(root)
    yield "open its output"
    if spec.terminal:
        streams = _terminal(root, channel, user)
    stdin = open_below(root, "dev/null", os.O_RDONLY, RESOLVE_BENEATH) if streams[0] is None else streams[0]
    connect_output(stdin, *streams[1:])
    yield BECOME
    resource.setrlimit(resource.RLIMIT_NOFILE, birth.open_files)
    give_up(birth.rights, user)
    enter_directory(spec.workdir)
    reset_signals()
    os.umask(0o022)
    yield "wait for its record"
    if not channel.recv(1):
        os._exit(127)
    yield "lock its rights"
    lock(birth.rights)
    yield "run"
    words = (f"/dev/{INIT}", "--", *spec.argv) if birth.init else spec.argv
    execute(words, environment(spec.env, user, spec.hostname or spec.name, spec.terminal))


def _terminal(root: int, channel: socket.socket, user: Identity) -> tuple[int, int, int]:
    """A terminal of the container's own /dev/pts, which becomes ours; its other end goes to the supervisor.

    It is bound at /dev/console nowhere (CVE-2025-52565).
    """
    master, slave = open_terminal(root, user.uid)
    send_terminal(channel, master)
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    return slave, slave, slave


def send_terminal(channel: socket.socket, master: int) -> None:
    """Give the end of a terminal that is not the command's to who is at the other end of a channel."""
    socket.send_fds(channel, [_TERMINAL], [master])
    os.close(master)


def receive_terminal(channel: socket.socket) -> int | None:
    """What send_terminal gave; None: its process ended before."""
    data, ends, _, _ = socket.recv_fds(channel, len(_TERMINAL), 1, socket.MSG_CMSG_CLOEXEC)
    return ends[0] if data else None


def join_cgroups(files: tuple[str, ...]) -> None:
    """Put this process into v1 leaves."""
    for path in files:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        os.write(fd, b"0")
        os.close(fd)


def connect_output(stdin: int, stdout: int, stderr: int) -> None:
    """These become descriptors 0, 1 and 2; no other one survives exec (CVE-2024-21626)."""
    for fd, number in ((stdin, 0), (stdout, 1), (stderr, 2)):
        os.dup2(fd, number)
    close_on_exec_from(3)


def enter_directory(path: str) -> None:
    """chdir, and make sure that it lies below our root: getcwd fails for what is out of reach."""
    os.chdir(path)
    os.getcwd()


def reset_signals() -> None:
    """A program inherits what is ignored: Python ignores the first two, exec.py the others."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def environment(
    env: tuple[tuple[str, str], ...], user: Identity, hostname: str, terminal: bool
) -> dict[str, str]:
    """What a program in a container finds: nothing of ours."""
    term = {"TERM": "xterm"} if terminal else {}
    return {**DEFAULT_ENV, "HOSTNAME": hostname, "HOME": user.home, **term, **dict(env)}


def execute(argv: tuple[str, ...], env: dict[str, str]) -> NoReturn:
    """Search PATH as a shell does, and run the program. Raises OSError: ENOENT, or why it does not run.

    Not os.execvpe: it imports a module for this, which would then be the guest's.
    """
    name = argv[0]
    paths = (
        [name] if "/" in name else [f"{place}/{name}" for place in env.get("PATH", "").split(":") if place]
    )
    refused = OSError(errno.ENOENT, "not found", name)
    for path in paths:
        try:
            os.execve(path, argv, env)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            refused = OSError(error.errno, error.strerror, path)
    raise refused
