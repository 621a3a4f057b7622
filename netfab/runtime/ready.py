"""Waiting until nodes are ready: a port is open, a request is answered, a command succeeds, a line is logged.

No event tells that a program has begun to listen, so the probes are repeated, with pauses that grow from 5 to
250 ms. A container that has ended can't become ready: that ends the pause, and the wait.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from netfab.errors import NetfabError, NotReady
from netfab.runtime.exec import run_in_container
from netfab.runtime.logs import tail
from netfab.runtime.paths import Paths
from netfab.runtime.status import Status, status_of
from netfab.runtime.streams import Streams
from netfab.system import linux
from netfab.system.rest import rest
from netfab.tuples import NamedTuple

_LINES = 20  # of output, shown with a failure
_TRY = 5.0  # seconds that one connection or command may take
_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.25  # seconds
LONG = 2.0  # seconds of waiting before it is reported
_LOOPBACK = ("127.0.0.1", "::1")


class Probe(NamedTuple):
    """A condition: tcp (port), http (port, path), exec (argv) or log (regex), and its time limit in s."""

    kind: str
    port: int = 0
    path: str = "/"
    argv: tuple[str, ...] = ()
    regex: str = ""
    within: float = 60.0


class Node(NamedTuple):
    """A node to wait for. `addresses`: its own, tried besides its loopback addresses."""

    name: str
    netns: int
    probes: tuple[Probe, ...]
    addresses: tuple[str, ...] = ()


def _go_on() -> None:
    pass


def _say_nothing(_: str) -> None:
    pass


def wait_ready(
    paths: Paths,
    nodes: Iterable[Node],
    between: Callable[[], None] = _go_on,
    waiting_for: Callable[[str], None] = _say_nothing,
) -> None:
    """Return when every probe of every node succeeds. Raises NotReady for the first node that fails.

    `between` is called before each pause; an exception from it ends the wait. `waiting_for` is called once,
    with what a longer wait is for.
    """
    silent = True
    begun, seconds = time.monotonic(), _FIRST_PAUSE
    waiting = [(node, probe, _check_of(paths, node, probe)) for node in nodes for probe in node.probes]
    while True:
        # Check time and exits before the probes: a node that is late or has exited may have been ready
        # before.
        waited = time.monotonic() - begun
        known = {node.name: status_of(paths, node.name) for node, _, _ in waiting}
        waiting = [(node, probe, check) for node, probe, check in waiting if not check()]
        if not waiting:
            return
        for node, probe, _ in waiting:
            _raise_if_hopeless(paths, node, probe, known[node.name], waited)
        between()
        if silent and time.monotonic() - begun > LONG:
            silent = False
            waiting_for(", ".join(f"{node.name} ({_described(probe)})" for node, probe, _ in waiting))
        with _alive(paths, {node.name for node, _, _ in waiting}) as programs:
            rest(seconds, programs)
        seconds = min(seconds * 2, _LONGEST_PAUSE)


@contextmanager
def _alive(paths: Paths, names: Iterable[str]) -> Iterator[list[int]]:
    """Descriptors that become readable when one of the running programs exits."""
    pidfds = []
    try:
        for name in names:
            status = status_of(paths, name)
            if status is not None and status.pid:
                with suppress(OSError):  # it has just exited
                    pidfds.append(os.pidfd_open(status.pid))
        yield pidfds
    finally:
        for pidfd in pidfds:
            os.close(pidfd)


def _raise_if_hopeless(paths: Paths, node: Node, probe: Probe, status: Status | None, waited: float) -> None:
    hint = ""
    if status is not None and status.over:
        code = "unknown" if status.exit_code is None else status.exit_code
        reason = f"it ended, exit status {code}{': ' + status.error if status.error else ''}"
    elif waited >= probe.within:
        reason = f"{_described(probe)} did not hold within {probe.within:g} s"
        hint = f"`within: {2 * probe.within:g}s` in its `ready` waits longer"
    else:
        return
    lines = tuple(line.decode(errors="replace") for line in tail(paths, node.name, _LINES))
    raise NotReady(node.name, reason, lines, hint)


def _described(probe: Probe) -> str:
    what = {
        "tcp": str(probe.port),
        "http": f":{probe.port}{probe.path}",
        "exec": " ".join(probe.argv),
        "log": repr(probe.regex),
    }
    return f"{probe.kind} {what[probe.kind]}"


def _check_of(paths: Paths, node: Node, probe: Probe) -> Callable[[], bool]:
    match probe.kind:
        case "tcp":
            return lambda: any(_connects(node.netns, address, probe.port) for address in _addresses(node))
        case "http":
            return lambda: any(_answers(node.netns, address, probe) for address in _addresses(node))
        case "exec":
            return lambda: _succeeds(paths, node.name, probe.argv)
        case "log":
            pattern = re.compile(probe.regex.encode())
            return lambda: any(pattern.search(line) for line in tail(paths, node.name))
    raise ValueError(f"no probe {probe.kind}")


def _addresses(node: Node) -> tuple[str, ...]:
    return (*_LOOPBACK, *node.addresses)


def _connects(netns: int, address: str, port: int) -> bool:
    with suppress(OSError), _socket_in(netns, address) as door:
        door.connect((address, port))
        return True
    return False


def _answers(netns: int, address: str, probe: Probe) -> bool:
    """GET with a status of 200 to 399 (RFC 9110); the answer's body is not read."""
    with suppress(OSError), _socket_in(netns, address) as door:
        door.connect((address, probe.port))
        door.sendall(f"GET {probe.path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        return re.match(rb"HTTP/1\.[01] [23]\d\d", door.recv(64)) is not None
    return False


def _socket_in(netns: int, address: str) -> socket.socket:
    with linux.in_network(netns):
        door = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    door.settimeout(_TRY)
    return door


def _succeeds(paths: Paths, name: str, argv: tuple[str, ...]) -> bool:
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        silent = Streams(nowhere, nowhere, nowhere)
        return run_in_container(paths, name, argv, streams=silent, timeout=_TRY) == 0
    except NetfabError:  # not up yet, or restarting
        return False
    finally:
        os.close(nowhere)
