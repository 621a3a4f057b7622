"""What a container's process does between clone3 and exec: a script of system calls, written beforehand.

The supervisor writes scripts, and the child only makes the calls in its own (system/calls.py says why). What
several containers have in common is written once. What differs is an argument: it is copied into registers
and memory that the calls read, just before the clone. Each step has a name, for the error message.
"""

from __future__ import annotations

import os
import resource
from array import array
from collections.abc import Callable, Iterator
from struct import pack

from netfab import TYPE_CHECKING
from netfab.errors import BECOME, IDENTIFY, MOUNT, RUN
from netfab.runtime import rootfs
from netfab.runtime.become import (
    connect_output,
    enter_directory,
    environment,
    execute,
    join_cgroups,
    reset_signals,
    send_terminal,
)
from netfab.runtime.confine import Rights, give_up, lock
from netfab.runtime.identity import Identity, identify
from netfab.runtime.layers import Layers, Part
from netfab.runtime.spec import INIT, Spec
from netfab.system import linux
from netfab.system.calls import RESERVED, Calls, Register, at_once, library, new_cells, perform
from netfab.system.descriptors import reserve
from netfab.system.devpts import control_by, open_terminal
from netfab.system.mounts import RESOLVE_BENEATH, note_open_below
from netfab.system.process import hide_from_ptrace, note_close
from netfab.system.sockets import Socket
from netfab.system.trees import make_directories
from netfab.tuples import NamedTuple

if TYPE_CHECKING:
    from typing import TypeVar

    _Key = TypeVar("_Key")

_dup3, _read, _umask, _setns, _unshare, _sethostname, _setsid, _setrlimit = library(
    "dup3", "read", "umask", "setns", "unshare", "sethostname", "setsid", "setrlimit"
)
_INFINITE = (1 << 64) - 1  # RLIM_INFINITY, -1 in Python

Script = tuple[Calls, ...]  # run one after the other

# Registers: the root's descriptor, then the arguments; those that are descriptors are moved to known numbers.
_ROOT, *_ARGUMENTS = map(Register, range(2, RESERVED))
*_INHERITED, _NAME_LENGTH = _ARGUMENTS
_CHANNEL, _STDIN, _LOG, _ERRORS, _NETNS = range(len(_INHERITED))

_FIRST = 3  # the first descriptor after the standard streams
_MOST_KNOWN = 40  # pieces of scripts to cache
_MOST_CELLS = 1 << 14  # used by the cached pieces; a new script has at least three times as many left
_NAME_LIMIT = 256  # bytes
_PATH_LIMIT = 4096
_VARIABLE = b"HOSTNAME="


class Setup(NamedTuple):
    """What determines the calls in a process's script."""

    spec: Spec
    parts: tuple[Part, ...]
    init: str  # program of the host; "": none
    rights: Rights
    cgroup_files: tuple[str, ...]  # v1 leaves to join
    cgroup_mounts: tuple[tuple[str, str], ...]


class Arguments(NamedTuple):
    """What differs between processes that run the same script."""

    hostname: str
    private: str  # directory of the upper and work layers
    hosts_file: str
    resolv_conf: str
    channel: int = -1  # to its parent
    stdin: int = -1
    log: int = -1
    errors: int = -1
    netns: int = -1


Move = tuple[int, int, int]  # a copy in memory: to and from which address, bytes


class Invocation(NamedTuple):
    """A script with its arguments, ready to be run by a child."""

    steps: Iterator[str]
    cells: array[int]
    numbers: array[int]  # for some of the arguments
    places: tuple[int, ...]  # their addresses
    texts: tuple[array[int], ...]  # for these
    channel: int  # its descriptor in the child

    def moves(self) -> list[Move]:
        """The copies that put arguments where the calls read them; invalid once another script is written."""
        cells, _ = self.cells.buffer_info()
        registers = cells + (RESERVED - len(_ARGUMENTS)) * self.cells.itemsize
        return [
            (to, content.buffer_info()[0], len(content) * content.itemsize)
            for to, content in zip((registers, *self.places), (self.numbers, *self.texts), strict=True)
        ]


class Scripts:
    """Writes the scripts of all of a supervisor's containers."""

    def __init__(self, layers: Layers, open_files: tuple[int, int]) -> None:
        """`open_files`: RLIMIT_NOFILE for containers, since the supervisor has raised its own."""
        self._layers, self._open_files = layers, open_files
        self._known: dict[tuple[object, ...], Calls] = {}
        self._cells = new_cells()
        self._places = reserve(len(_INHERITED) + rootfs.MOST_PLACES)
        self._user = Identity()  # in a child: the user of its program
        self._memory = Calls()
        self._variable = self._memory.memory(_VARIABLE + bytes(_NAME_LIMIT))
        self._hostname = self._variable + len(_VARIABLE)
        self._private, self._hosts_file, self._resolv_conf = (
            self._memory.memory(bytes(_PATH_LIMIT)) for _ in range(3)
        )

    def of(self, setup: Setup) -> Script:
        """Raises OSError for a text too long for a call, and for too many calls."""
        if len(self._known) > _MOST_KNOWN or len(self._cells) > _MOST_CELLS:
            self._known, self._cells = {}, new_cells()
        spec = setup.spec
        names = bool(spec.hosts_file), bool(spec.resolv_conf)
        inside = names, spec.mounts, spec.files, spec.read_only, spec.workdir
        output = spec.terminal, bool(spec.stdin)
        return (
            self._once(self._enter_namespaces, setup.cgroup_files),
            self._once(self._mount_root, setup.parts),
            self._once(self._mount_kernel_filesystems, setup.cgroup_mounts),
            self._once(self._furnish, setup, setup.parts, setup.init, spec.user, inside, output),
            self._once(self._become, setup, setup.rights, spec.user, spec.workdir),
            self._once(self._run, setup, setup.init, spec.argv, spec.env, spec.user, spec.terminal),
        )

    def _once(self, write: Callable[[Calls, _Key], None], of: _Key, *deciding: object) -> Calls:
        """That piece of the script, written once for all with an equal `deciding` (or `of`, without it)."""
        key = write.__name__, *(deciding or (of,))
        if key not in self._known:
            calls = Calls(self._cells)
            write(calls, of)
            self._known[key] = calls
        return self._known[key]

    def invocation(self, script: Script, arguments: Arguments) -> Invocation:
        """That script, ready to be run with these arguments."""
        named = arguments.hostname, arguments.private, arguments.hosts_file, arguments.resolv_conf
        texts = tuple(array("b", os.fsencode(text) + b"\0") for text in named)
        inherited = (
            arguments.channel,
            arguments.stdin,
            arguments.log,
            arguments.errors,
            arguments.netns,
        )
        steps = perform(*script)
        next(steps)
        return Invocation(
            steps=steps,
            cells=script[0].cells,
            numbers=array("q", (*inherited, len(texts[0]) - 1)),
            places=(self._hostname, self._private, self._hosts_file, self._resolv_conf),
            texts=texts,
            channel=self._places[_CHANNEL],
        )

    def _enter_namespaces(self, calls: Calls, cgroup_files: tuple[str, ...]) -> None:
        calls.step = "close inherited descriptors"
        for inherited, place in zip(_INHERITED, self._places, strict=False):
            calls.make(_dup3, inherited, place, os.O_CLOEXEC)
        note_close(calls, _FIRST, self._places.start - 1)
        note_close(calls, self._places.stop)
        calls.step = "join its cgroups"
        calls.make(_umask, 0)
        hide_from_ptrace(calls)
        join_cgroups(calls, cgroup_files)
        calls.step = "enter its namespaces"
        calls.make(_setns, self._places[_NETNS], linux.CLONE_NEWNET)
        calls.make(_unshare, linux.CLONE_NEWCGROUP)
        calls.make(_sethostname, self._hostname, _NAME_LENGTH)
        calls.make(_setsid)

    def _mount_root(self, calls: Calls, parts: tuple[Part, ...]) -> None:
        calls.step = "mount its root"
        scratch = rootfs.Scratch(self._private, self._places[len(_INHERITED) :])
        rootfs.mount_root(calls, _ROOT, parts, self._layers, scratch)

    def _mount_kernel_filesystems(self, calls: Calls, cgroup_mounts: tuple[tuple[str, str], ...]) -> None:
        calls.step = "mount /dev, /proc and /sys"
        rootfs.mount_kernel_filesystems(calls, _ROOT, self._layers, cgroup_mounts)

    def _furnish(self, calls: Calls, setup: Setup) -> None:
        spec = setup.spec
        calls.step = MOUNT
        if setup.init:
            calls.later(rootfs.bind_init, _ROOT, setup.init)
        if spec.hosts_file:
            rootfs.bind_name_file(calls, _ROOT, self._hosts_file, "etc/hosts")
        if spec.resolv_conf:
            rootfs.bind_name_file(calls, _ROOT, self._resolv_conf, "etc/resolv.conf")
        for mount in spec.mounts:
            calls.later(rootfs.bind, _ROOT, mount)
        calls.step = "write its files"
        if spec.files:
            calls.later(rootfs.write_files, _ROOT, spec)
        calls.step = IDENTIFY
        if spec.user:
            calls.later(self._identify, _ROOT, spec.user)
        calls.step = "make its working directory"
        if spec.workdir != "/":
            calls.later(lambda root: os.close(make_directories(root, spec.workdir)), _ROOT)
        calls.step = "make its root read-only"
        if spec.read_only:
            calls.later(rootfs.make_read_only, _ROOT, setup.parts)
        calls.step = "enter its root"
        rootfs.enter_root(calls, _ROOT)
        calls.step = "open its output"
        if spec.terminal:
            calls.later(self._open_terminal, _ROOT, self._places[_CHANNEL])
        else:
            stdin: int | Register = self._places[_STDIN]
            if not spec.stdin:
                stdin = note_open_below(calls, _ROOT, "dev/null", os.O_RDONLY, RESOLVE_BENEATH)
            connect_output(calls, stdin, self._places[_LOG], self._places[_ERRORS])

    def _identify(self, root: int, user: str) -> None:
        self._user = identify(root, user)

    def _open_terminal(self, root: int, channel: int) -> None:
        """Open a terminal of the container's own /dev/pts as ours, and send its master to the supervisor.

        It is never bind-mounted at /dev/console (CVE-2025-52565).
        """
        master, slave = open_terminal(root, self._user.uid)
        way = Socket(fileno=channel)
        send_terminal(way, master)
        way.detach()  # the channel stays open: it is used again
        control_by(slave)
        at_once(connect_output, slave, slave, slave)

    def _become(self, calls: Calls, setup: Setup) -> None:
        spec, rights = setup.spec, setup.rights
        calls.step = BECOME
        limits = pack("2Q", *(limit & _INFINITE for limit in self._open_files))  # struct rlimit
        calls.make(_setrlimit, resource.RLIMIT_NOFILE, calls.memory(limits))
        if spec.user:
            calls.later(lambda: at_once(give_up, rights, self._user))
        else:
            give_up(calls, rights, Identity())
        if spec.workdir != "/":  # already in the root
            calls.later(enter_directory, spec.workdir)
        reset_signals(calls)
        calls.make(_umask, 0o022)
        calls.step = "wait for its record"
        calls.make(_read, self._places[_CHANNEL], calls.memory(b" "), 1, least=1, instead=_give_up)
        calls.step = "lock its rights"
        lock(calls, rights)

    def _run(self, calls: Calls, setup: Setup) -> None:
        spec = setup.spec
        words = (f"/dev/{INIT}", "--", *spec.argv) if setup.init else spec.argv
        calls.step = RUN
        if spec.user:
            calls.later(lambda: at_once(execute, words, self._environment(spec)))
        else:
            execute(calls, words, self._environment(spec))

    def _environment(self, spec: Spec) -> dict[str, str | int]:
        found: dict[str, str | int] = {**environment(spec.env, self._user, "", spec.terminal)}
        if not found["HOSTNAME"]:
            found["HOSTNAME"] = self._variable
        return found


def _give_up(_: OSError) -> int:
    """The supervisor died before it permitted this process to run: no record knows the process."""
    os._exit(127)
