"""Real traffic: servers that tell each client by which address it is seen, and clients for them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from lab import Lab, T

from netfab.system import linux

PATIENCE = 20.0  # seconds, for what should be answered; nothing is measured with it
DROPPED = 0.5  # seconds, after which what should not be answered is taken for dropped


def serving(lab: Lab, node: str = "", port: int = 80) -> AbstractContextManager[None]:
    """A TCP server in a node (FABRIC.NODE) or on the host, for both families."""
    return lab.running(lambda ready: _serve((port,), ready), node)


def serving_everywhere(lab: Lab, nodes: Iterable[str], port: int = 80) -> AbstractContextManager[None]:
    """One in each of these nodes."""
    return lab.running(lambda ready: _serve((port,), ready, tuple(nodes)))


def answer(lab: Lab, node: str, address: str, port: int = 80) -> str | None:
    """What the server there says to that node (`""`: the host), which is whom it sees, else None."""
    return lab.call(lambda: ask(address, port), node)


def dropped(lab: Lab, node: str, address: str, port: int = 80) -> bool:
    """Whether nothing of the server there gets through to that node."""
    return lab.call(lambda: ask(address, port, DROPPED) is None, node)


def unreached(lab: Lab, pairs: Iterable[tuple[str, str]], port: int = 80) -> list[tuple[str, str]]:
    """Those (node, address) where nothing gets through."""

    def lost(node: str, address: str) -> bool:
        return within(node, lambda: ask(address, port)) is None

    return lab.call(lambda: [pair for pair in pairs if lost(*pair)])


def ask(address: str, port: int, patience: float = PATIENCE) -> str | None:
    """Of a server, in the namespace that the caller is in."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as client:
        client.settimeout(patience)
        try:
            client.connect((address, port))
            return client.recv(100).decode()
        except OSError:
            return None


def echo(address: str, port: int) -> bytes | None:
    """What comes back for a datagram."""
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE)
        try:
            client.connect((address, port))
            client.send(b"ping")
            return client.recv(100)
        except OSError:
            return None


def within(node: str, function: Callable[[], T]) -> T:
    """For functions that are called in the host: go on in a node's network."""
    fd = os.open(f"/run/netns/{node}", os.O_RDONLY)
    linux.setns(fd, linux.CLONE_NEWNET)
    os.close(fd)
    return function()


def _serve(ports: Iterable[int], ready: Callable[[], None], nodes: Iterable[str] = ()) -> None:
    import select

    servers: list[socket.socket] = []

    def listen() -> None:
        servers.extend(
            socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True) for port in ports
        )

    if nodes:
        for node in nodes:
            within(node, listen)
    else:
        listen()
    ready()
    while True:
        for server in select.select(servers, [], [])[0]:
            connection, peer = server.accept()
            connection.sendall(peer[0].removeprefix("::ffff:").encode())
            connection.close()
