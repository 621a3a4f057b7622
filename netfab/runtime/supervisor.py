"""The one process that is the parent of all containers of a fabric, and holds its published ports.

summons.py starts it; it ends when it has neither containers nor ports.

One thread, the standard library, no paths but its own: it waits for processes (pidfds), timers, and requests
on a socket. A request is one message: {"verb", ...} as JSON with descriptors of network namespaces; so is its
answer. Killing this process harms no container: the next one adopts them, and takes the ports again.
"""

from __future__ import annotations

import _signal as signal  # `signal` takes 0.3 MB
import fcntl
import gc
import os
import select
import sys
from collections.abc import Iterator
from contextlib import suppress

from netfab import TYPE_CHECKING
from netfab.errors import NetfabError
from netfab.runtime import inherited, remover
from netfab.runtime.keeper import Keeper
from netfab.runtime.launcher import Launcher, raise_open_files
from netfab.runtime.layers import make_layers, mount_points
from netfab.runtime.paths import Paths
from netfab.runtime.ports import HeldPorts
from netfab.runtime.protocol import BUSY, DESCRIPTOR_LIMIT, MESSAGE_LIMIT, READY, WORD, describe
from netfab.runtime.record import read_record, read_spec
from netfab.runtime.rotation import trim
from netfab.runtime.timers import Timers
from netfab.system import json, linux
from netfab.system.files import is_at
from netfab.system.mounts import NSFS_MAGIC, filesystem_magic
from netfab.system.poll import readable
from netfab.system.process import user_namespace_is_initial
from netfab.system.sockets import (
    AF_UNIX,
    SOCK_SEQPACKET,
    Socket,
    accepted,
    receive_descriptors,
    send_descriptors,
)

if TYPE_CHECKING:
    from typing import Any

_ROTATION = 2.0  # seconds between two looks at the logs


class _Wait:
    """A request that is answered when its containers have ended."""

    def __init__(self, connection: Socket, names: set[str], answer: dict[str, Any]) -> None:
        self.connection, self.waiting, self.answer = connection, names, answer


class Supervisor:
    """The event loop."""

    def __init__(self, paths: Paths, mounts: int) -> None:
        self._paths, self._mounts = paths, mounts
        self._poll = select.epoll()
        self._timers = Timers()
        self._connections: dict[int, Socket] = {}
        self._waits: list[_Wait] = []
        self._removed_by: dict[int, str] = {}  # connection -> the container that its client will remove
        self._abandoned: set[str] = set()  # containers whose client died before it removed them
        self._removers: list[int] = []
        self._dismissed = False  # don't wait for connected clients: everything is removed
        self.keeper = Keeper(paths, self._poll, self._timers, self._is_over)
        self.ports = HeldPorts(paths.ports)

    def serve(self, door: Socket, summoner: int) -> None:
        """Run until nothing is left to supervise, and no command that started us, or is connected, may ask.

        Once dismissed, we do not wait for connected commands: a suspended one stays connected.
        """
        self._poll.register(door.fileno(), select.EPOLLIN)
        self._poll.register(summoner, select.EPOLLIN)
        self._rotate()
        expecting = True
        while self._supervises() or (not self._dismissed and (expecting or self._connections)):
            wait = self._timers.wait()
            ready = [fd for fd, _ in self._poll.poll(wait if wait < 0 else wait + 0.001)]
            # Ended processes first: none is reported as running, and no new descriptor has its number yet.
            for fd in sorted(ready, key=lambda fd: (fd == door.fileno(), fd in self._connections)):
                if fd == door.fileno():
                    self._accept(door)
                elif fd == summoner and expecting:  # only end-of-file comes there
                    expecting = False
                    self._poll.unregister(summoner)
                    os.close(summoner)
                elif fd in self._connections:
                    self._serve_one(self._connections[fd])
                elif self.keeper.owns(fd):
                    self.keeper.ended(fd)
                elif self.keeper.terminals.owns(fd):
                    self.keeper.terminals.copy(fd)
            self._timers.run()

    def _supervises(self) -> bool:
        return bool(self.keeper.containers or self.ports)

    def _rotate(self) -> None:
        for name in self.keeper.containers:
            with suppress(OSError):  # without support for holes, the file is kept whole
                trim(self._paths.log(name))
                trim(self._paths.errors(name))
        self._removers = [pid for pid in self._removers if not remover.has_ended(pid)]
        self._timers.after(_ROTATION, self._rotate)

    def _accept(self, door: Socket) -> None:
        connection = accepted(door)
        connection.setblocking(False)
        self._connections[connection.fileno()] = connection
        self._poll.register(connection.fileno(), select.EPOLLIN)

    def _serve_one(self, connection: Socket) -> None:
        try:
            message, descriptors = receive_descriptors(connection, MESSAGE_LIMIT, DESCRIPTOR_LIMIT)
        except OSError:
            message, descriptors = b"", []
        if not message:
            self._hang_up(connection)
            return
        try:
            answer = self._answer(connection, json.loads(message), descriptors)
        except (NetfabError, OSError, KeyError, TypeError, ValueError) as error:
            sys.excepthook(*sys.exc_info())
            answer = {"error": str(error)}
        if answer is not None:
            self._send(connection, answer)

    def _answer(
        self, connection: Socket, request: dict[str, Any], descriptors: list[int]
    ) -> dict[str, Any] | None:
        """The answer; None if it is sent later."""
        match request["verb"]:
            case "start":
                return _failures(self.keeper.start(dict(zip(request["names"], descriptors, strict=True))))
            case "stop":
                self.keeper.stop(self._waited_for(connection, request["names"], {}), request["timeout"])
                self._answer_waits()
                return None
            case "wait":
                self._waited_for(connection, request["names"], {})
                self._answer_waits()
                return None
            case "signal":
                failed = _failures(self.keeper.send(request["names"], request["number"]))
                if request["number"] != signal.SIGKILL:
                    return failed
                killed = [name for name in request["names"] if name not in failed["failed"]]
                self._waited_for(connection, killed, failed)
                self._answer_waits()
                return None
            case "pause":
                return _failures(self.keeper.pause(request["names"], request["paused"]))
            case "update":
                self.keeper.update(request["name"])
                return {}
            case "hold":
                return {"failed": self.ports.hold(request["ports"])}
            case "terminal":
                self._hand_over(connection, request["name"])
                return None
            case "mind":
                self._removed_by[connection.fileno()] = request["name"]
                return {}
            case "end":
                self._dismissed = not self._supervises()
                return {}
        raise ValueError(f"unknown verb {request['verb']}")

    def _hand_over(self, connection: Socket, name: str) -> None:
        """Send a copy of the master of a container's terminal; none if it has no terminal, or has ended."""
        master = self.keeper.terminals.of(name)
        with suppress(OSError):
            send_descriptors(connection, b"{}", [] if master is None else [master])

    def _is_over(self, name: str) -> None:
        known, spec = read_record(self._paths.record(name)), read_spec(self._paths.spec(name))
        if name in self._abandoned or (spec.remove and not (known and known.error)):
            self._remove(name)
        for wait in self._waits:
            wait.waiting.discard(name)
        self._answer_waits()

    def _remove(self, name: str) -> None:
        """Run a command that removes a container of `--rm`, and its network."""
        self._abandoned.discard(name)
        self._removers.append(remover.start(self._paths, name, self._mounts))

    def _waited_for(self, connection: Socket, names: list[str], answer: dict[str, Any]) -> set[str]:
        """Those of these that have not ended; when they have, that answer is sent."""
        there = {name for name in names if name in self.keeper.containers}
        self._waits.append(_Wait(connection, set(there), answer))
        return there

    def _answer_waits(self) -> None:
        done = [wait for wait in self._waits if not wait.waiting]
        self._waits = [wait for wait in self._waits if wait.waiting]
        for wait in done:
            self._send(wait.connection, wait.answer)

    def _send(self, connection: Socket, answer: dict[str, Any]) -> None:
        with suppress(OSError):  # the client is gone
            connection.send(json.dumps(answer).encode())

    def _hang_up(self, connection: Socket) -> None:
        self._waits = [wait for wait in self._waits if wait.connection is not connection]
        name = self._removed_by.pop(connection.fileno(), "")
        self._poll.unregister(connection.fileno())
        del self._connections[connection.fileno()]
        connection.close()
        if name in self.keeper.containers:
            self._abandoned.add(name)
        elif name and os.path.exists(self._paths.spec(name)):  # the client was killed before it removed it
            self._remove(name)


def _failures(failed: dict[str, NetfabError]) -> dict[str, Any]:
    return {"failed": {name: describe(error) for name, error in failed.items()}}


def main(fabric: str, run: str, state: str, mounts: str) -> None:
    """Become a supervisor when the word comes on descriptor 0; it is answered there once we take requests.

    `mounts`: a descriptor of the mount namespace that commands run in, which may not be ours any more.
    """
    os.set_inheritable(int(mounts), False)
    gc.collect()  # garbage of imports, whose memory containers' records can use
    # Daemonize. The fork also drops page mappings of files that imports have read.
    if os.fork():
        os._exit(0)
    if os.read(0, len(WORD)) != WORD or readable([0], 0):  # after the word only end-of-file may come
        return
    paths = Paths(fabric, run, state)
    inherited.let_go()
    os.umask(0o022)  # not the caller's: whoever may write to the socket has root's rights here
    os.chdir("/")
    tell = _let_go_of_streams(paths)
    lock = os.open(paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.write(tell, BUSY)
    else:
        _supervise(paths, tell, int(mounts))


def _let_go_of_streams(paths: Paths) -> int:
    """Redirect the standard streams to the log. Returns a copy of descriptor 0."""
    tell = os.dup(0)
    log = os.open(paths.supervisor_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    for fd, number in ((null, 0), (log, 1), (log, 2)):
        os.dup2(fd, number)
    os.close(log)
    os.close(null)
    return tell


def _supervise(paths: Paths, tell: int, mounts: int) -> None:
    open_files = raise_open_files()
    supervisor = Supervisor(paths, mounts)
    supervisor.keeper.adopt()
    supervisor.ports.adopt()
    scratch = f"{paths.fabric_run}/layers"
    os.makedirs(scratch, exist_ok=True)
    leave_namespaces_of_nodes(mounts)
    layers = make_layers(paths, scratch, user_namespace_is_initial())
    supervisor.keeper.launcher = Launcher(paths, layers, open_files)
    with _listen(paths) as door:
        with suppress(BrokenPipeError):  # the command that started us was killed, which `serve` sees
            os.write(tell, READY)
        gc.freeze()
        supervisor.serve(door, tell)
        supervisor.keeper.launcher.close()
        os.unlink(paths.socket)


def leave_namespaces_of_nodes(mounts: int) -> None:
    """Enter a mount namespace without the nodes' bind mounts, which would be copied for each container.

    It follows the host's later mounts, but nothing that is done in it reaches the host. `mounts`: the one
    that commands have; a sealed process has its own already, and making another costs 1 to 2 ms.
    """
    if is_at(mounts, "/proc/self/ns/mnt"):
        linux.unshare(linux.CLONE_NEWNS)
    linux.mount("", "/", flags=linux.MS_SLAVE | linux.MS_REC)
    with suppress(OSError):  # not a mount point: no node was bound there
        linux.umount("/run/netns")
    for point in _bound_namespaces():
        with suppress(OSError):  # gone meanwhile, or locked: in a user namespace, what was there before it
            linux.umount(point)


def _bound_namespaces() -> Iterator[str]:
    """The visible ones: the path of one that another mount covers leads elsewhere, or nowhere."""
    return (point for point, fstype in reversed(mount_points()) if fstype == "nsfs" and _is_namespace(point))


def _is_namespace(path: str) -> bool:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return filesystem_magic(fd) == NSFS_MAGIC
    finally:
        os.close(fd)


def _listen(paths: Paths) -> Socket:
    """Bound through its directory's descriptor, because a socket's path is limited to 107 bytes."""
    directory = os.open(paths.fabric_run, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    with suppress(FileNotFoundError):
        os.unlink(paths.socket)
    door = Socket(AF_UNIX, SOCK_SEQPACKET)
    door.bind(f"/proc/self/fd/{directory}/{os.path.basename(paths.socket)}")
    os.close(directory)
    door.listen(64)
    return door
