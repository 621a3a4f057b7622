"""From a process of ours to a program in a container: what its first process and commands of `exec` share.

A step that fails is reported as (step, errno, path) on a descriptor that exec closes.
"""

from __future__ import annotations

import _signal as signal  # see supervisor.py
import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from struct import pack

from netfab import TYPE_CHECKING
from netfab.errors import ContainerFailed
from netfab.runtime.identity import Identity
from netfab.runtime.spec import DEFAULT_ENV
from netfab.system.calls import Calls, Register, library
from netfab.system.mounts import AT_FDCWD
from netfab.system.process import note_close_on_exec
from netfab.system.sockets import Socket, receive_descriptors, send_descriptors

if TYPE_CHECKING:
    from typing import NoReturn

REPORT_LIMIT = 4096  # bytes
TERMINAL = b"+"  # accompanies the descriptor of a terminal, before any report

# Ignored signals stay ignored across exec: Python ignores the first two, exec.py the others.
_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGQUIT)
_SIGNAL_STRUCTURES = 256  # bytes; at least struct sigaction and sigset_t on every architecture

_openat, _write, _dup2, _sigaction, _sigprocmask, _execve = library(
    "openat", "write", "dup2", "sigaction", "sigprocmask", "execve"
)


def run_or_report(steps: Iterator[str], report: int) -> NoReturn:
    """Run a child's steps, the last of which is exec; on failure report which step, and exit."""
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
    os.write(pipe, f"{step}\0{number}\0{path}".encode(errors="replace")[:REPORT_LIMIT])


def failure_of(name: str, report: str) -> ContainerFailed:
    """What a child reported, as an error."""
    step, number, path = report.split("\0")
    return ContainerFailed(name, step, int(number), path)


def send_terminal(channel: Socket, master: int) -> None:
    """Send the master of a terminal to the other end of a channel."""
    send_descriptors(channel, TERMINAL, [master])
    os.close(master)


def receive_terminal(channel: Socket) -> int | None:
    """What send_terminal sent; None if its process ended before that."""
    data, ends = receive_descriptors(channel, len(TERMINAL), 1)
    return ends[0] if data else None


def join_cgroups(calls: Calls, files: tuple[str, ...]) -> None:
    """Move this process into v1 leaves."""
    for path in files:
        file = calls.opened(_openat, AT_FDCWD, calls.text(path), os.O_WRONLY | os.O_CLOEXEC, path=path)
        calls.make(_write, file, calls.text("0"), 1, path=path)


def connect_output(calls: Calls, *streams: int | Register) -> None:
    """Make these descriptors 0, 1 and 2; no other one survives exec (CVE-2024-21626)."""
    for number, fd in enumerate(streams):
        calls.make(_dup2, fd, number)
    note_close_on_exec(calls, len(streams))


def enter_directory(path: str) -> None:
    """chdir, and make sure that it lies below our root: getcwd fails for a directory out of reach."""
    os.chdir(path)
    os.getcwd()


def reset_signals(calls: Calls) -> None:
    """Unblock all signals and ignore none."""
    nothing = calls.memory(bytes(_SIGNAL_STRUCTURES))  # SIG_DFL; also the empty signal set
    for number in _IGNORED:
        calls.make(_sigaction, number, nothing)
    calls.make(_sigprocmask, signal.SIG_SETMASK, nothing)


def environment(
    env: tuple[tuple[str, str], ...], user: Identity, hostname: str, terminal: bool
) -> dict[str, str]:
    """The environment of a program in a container: nothing of ours."""
    term = {"TERM": "xterm"} if terminal else {}
    return {**DEFAULT_ENV, "HOSTNAME": hostname, "HOME": user.home, **term, **dict(env)}


def execute(calls: Calls, argv: tuple[str, ...], env: Mapping[str, str | int]) -> None:
    """Search PATH as a shell does, and run the program. Raises OSError: ENOENT, or why it does not run.

    A variable's value may be given as the address of `NAME=value`.

    Not os.execvpe: it imports a module for this, which would then be the guest's.
    """
    name = argv[0]
    places = str(env.get("PATH", "")).split(":")
    paths = [name] if "/" in name else [f"{place}/{name}" for place in places if place]
    words = _vector(calls, argv)
    variables = _vector(
        calls, (value if isinstance(value, int) else f"{key}={value}" for key, value in env.items())
    )
    addresses = list(map(calls.text, paths))
    for address in addresses:
        calls.make(_execve, address, words, variables, least=-1)
    # Nothing was run: call once more for the errno.
    refused = [OSError(errno.ENOENT, "not found", name)]
    for path, address in zip(paths, addresses, strict=True):
        calls.make(_execve, address, words, variables, path=path, instead=partial(_remember, refused))
    calls.later(_refuse, refused)


def _vector(calls: Calls, texts: Iterable[str | int]) -> int:
    """An array of strings, as main(3) receives it."""
    addresses = [text if isinstance(text, int) else calls.text(text) for text in texts]
    return calls.memory(pack(f"{len(addresses) + 1}P", *addresses, 0))


def _remember(refused: list[OSError], error: OSError) -> int:
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        refused[0] = error
    return 0


def _refuse(refused: list[OSError]) -> NoReturn:
    raise refused[0]
