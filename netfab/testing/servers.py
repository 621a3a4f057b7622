"""Servers in nodes: an echo (RFC 862) and pages over HTTP. Each is a process that ends with its line."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseRequestHandler, ThreadingTCPServer

from netfab.errors import NetfabError
from netfab.testing.inside import Place, enter
from netfab.testing.line import Line


class _Echo(BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(1 << 16):
            self.request.sendall(data)


class _Server(ThreadingTCPServer):
    """Listens on every address of the node, IPv6 and IPv4 if it has both."""

    address_family = socket.AF_INET6 if socket.has_ipv6 else socket.AF_INET
    allow_reuse_address = True
    daemon_threads = True

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def handle_error(self, *_: object) -> None:
        """Ignored: a client that hangs up is no failure of the test."""


def echo(line: Line, _: list[int], place: Place, port: int) -> None:
    """Echo what arrives at a port, over TCP and UDP. Talks: sends once it is reachable."""
    enter(place)
    server = _bound(place, port, lambda: _Server(("::", port), _Echo))
    datagrams = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    datagrams.bind(("::", port))
    threading.Thread(target=_echo_datagrams, args=(datagrams,), daemon=True).start()
    _serve(line, server)


def _echo_datagrams(door: socket.socket) -> None:
    while True:
        with suppress(OSError):  # no route back just now, or none at all: to port 0
            door.sendto(*door.recvfrom(1 << 16))


def http(line: Line, _: list[int], place: Place, port: int, pages: Mapping[str, bytes]) -> None:
    """Answer GET with the page of that path, or 404. Talks: sends once it is reachable."""

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.get(self.path)
            self.send_response(404 if page is None else 200)
            self.send_header("Content-Length", str(len(page or b"")))
            self.end_headers()
            self.wfile.write(page or b"")

        def log_message(self, *_: object) -> None:
            """Nobody reads the log."""

    class Server(_Server, ThreadingHTTPServer):
        pass

    enter(place)
    _serve(line, _bound(place, port, lambda: Server(("::", port), Pages)))


def _bound(place: Place, port: int, server: Callable[[], _Server]) -> _Server:
    try:
        return server()
    except OSError as error:
        raise NetfabError(f"can't serve port {port} in {place.node}: {error.strerror}") from error


def _serve(line: Line, server: _Server) -> None:
    """Serve until the caller hangs up. It gets a pidfd: the port is taken until this process has ended."""
    threading.Thread(target=server.serve_forever, daemon=True).start()
    process = os.pidfd_open(os.getpid())
    line.tell(None, [process])
    os.close(process)
    line.waits()
    os._exit(0)
