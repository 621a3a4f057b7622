"""Ports of the host that a supervisor holds: bound, so that no other program can have them.

A port is PROTOCOL/ADDRESS/NUMBER: tcp/0.0.0.0/8080. No socket here listens: a client that reaches one where
the firewall forwards nothing to a node ([::1]) is refused at once.
"""

from __future__ import annotations

import _socket as socket  # system/sockets.py says why
import os
from collections.abc import Iterable
from contextlib import suppress
from errno import EIO, EPROTONOSUPPORT

from netfab.runtime.paths import Paths
from netfab.runtime.status import supervisor_lives
from netfab.system import json
from netfab.system.proc import text_of
from netfab.system.replace import replace_file

_KINDS = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}
_IP_FREEBIND, _IPV6_FREEBIND = 15, 78  # linux/in.h, linux/in6.h


def bound(port: str) -> socket.socket:
    """A socket bound to the port exclusively. Raises OSError, EADDRINUSE if it is taken."""
    protocol, address, number = port.split("/")
    kind, ip_protocol = _KINDS[protocol]
    six = ":" in address
    made = socket.socket(socket.AF_INET6 if six else socket.AF_INET, kind, ip_protocol)
    try:
        if six:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        else:  # an address that the host gets later can be published, too
            made.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        if kind == socket.SOCK_STREAM:  # connections in TIME_WAIT do not matter, only listeners do
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, int(number)))
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)  # from here on the port is not shared
    except OSError:
        made.close()
        raise
    return made


class HeldPorts:
    """The sockets of one supervisor, and the file that lists them."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._sockets: dict[str, socket.socket | None] = {}  # None: a protocol that can't be bound here

    def __bool__(self) -> bool:
        return bool(self._sockets)

    def adopt(self) -> None:
        """Hold what a dead supervisor held, except for ports taken since."""
        with suppress(FileNotFoundError, ValueError):
            self.hold(_read(self._file))

    def hold(self, wanted: Iterable[str]) -> dict[str, int]:
        """Close all others, then bind these. The errno for each port that can't be bound."""
        wanted, failed = set(wanted), {}
        for port in self._sockets.keys() - wanted:
            if (let_go := self._sockets.pop(port)) is not None:
                let_go.close()
        for port in sorted(wanted - self._sockets.keys()):
            try:
                self._sockets[port] = bound(port)
            except OSError as error:
                if error.errno == EPROTONOSUPPORT:  # a kernel without SCTP still forwards it to a node
                    self._sockets[port] = None
                else:
                    failed[port] = error.errno or EIO
        replace_file(self._file, json.dumps(sorted(self._sockets)))
        return failed


def held(paths: Paths) -> tuple[str, ...] | None:
    """What the supervisor holds, read without asking it; None if no ports were ever held."""
    try:
        ports = _read(paths.ports)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        return ()
    return ports if supervisor_lives(paths) else ()


def mark(paths: Paths) -> None:
    """Note that ports will be held, before they are: so they are found after a crash."""
    if not os.path.exists(paths.ports):
        os.makedirs(paths.fabric_run, mode=0o755, exist_ok=True)
        replace_file(paths.ports, "[]")


def _read(file: str) -> tuple[str, ...]:
    return tuple(json.loads(text_of(file)))
