"""Registries in a test's throw-away host: Debian's docker-registry, and one that does what it is told."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from made_images import Made

from netfab.images.manifests import OCI_MANIFEST

_CONFIG = """
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {directory}/data}}, delete: {{enabled: true}}}}
http: {{addr: "{address}:{port}"{tls}}}
"""
_TLS = ", tls: {{certificate: {0}/server.pem, key: {0}/server.key, clientcas: [{0}/ca.pem]}}"


@contextmanager
def docker_registry(
    directory: Path, port: int = 5000, address: str = "127.0.0.1", authority: Path | None = None
) -> Iterator[str]:
    """Debian's docker-registry; HOST:PORT. With an authority, it is for whom that knows, by TLS."""
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "config.yml"
    tls = _TLS.format(authority) if authority else ""
    config.write_text(_CONFIG.format(directory=directory, port=port, address=address, tls=tls))
    process = subprocess.Popen(
        ["docker-registry", "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for_port(port, address)
        yield f"{address}:{port}"
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()


def wait_for_port(port: int, address: str = "127.0.0.1") -> None:
    """Until it takes connections."""
    until = time.monotonic() + 60
    while True:
        with suppress(ConnectionRefusedError), socket.create_connection((address, port), 60):
            return
        assert time.monotonic() < until
        time.sleep(0.02)


class Request(BaseHTTPRequestHandler):
    """One request to a Registry."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        registry: Registry = self.server.registry  # type: ignore[attr-defined]
        registry.asked.append((self.path, dict(self.headers)))
        with suppress(BrokenPipeError, ConnectionResetError):
            for rule in registry.rules:
                if rule(self):
                    return
            self.serve(registry)

    do_HEAD = do_GET  # noqa: N815

    def serve(self, registry: Registry) -> None:
        """As a registry that does what it should."""
        kind, _, wanted = self.path.partition("?")[0].rpartition("/")
        if kind.endswith("/manifests"):
            found = registry.manifests.get(wanted)
            if found is None:
                self.answer(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}')
            else:
                self.answer(200, found[0], {"Content-Type": found[1]})
            return
        data = registry.blobs.get(wanted)
        if data is None:
            self.answer(404, b"")
            return
        begin = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0]
        start = int(begin)
        if start:
            self.answer(206, data[start:], {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"})
        else:
            self.answer(200, data)

    def answer(self, status: int, body: bytes, headers: Mapping[str, str] = {}, length: int = -1) -> bool:
        """Send it; `length`: of the body that is promised."""
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body) if length < 0 else length), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)
        if length > len(body):
            self.close_connection = True
        return True

    def log_message(self, *_: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    """One whose threads have ended when it is closed: until then nobody can leave the mounts they share."""

    daemon_threads = False
    registry: Registry

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self._connections: list[socket.socket] = []

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._connections.append(connection)
        return connection, address

    def server_close(self) -> None:
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        super().server_close()

    def handle_error(self, *_: Any) -> None:
        pass


class Registry:
    """A registry whose answers a test chooses: each of `rules` may answer a request in place of the rest."""

    def __init__(self, *images: Made, **tags: Made) -> None:
        self.rules: list[Callable[[Request], bool]] = []
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.manifests: dict[str, tuple[bytes, str]] = {}
        self.blobs: dict[str, bytes] = {}
        for name, one in [*((one.digest, one) for one in images), *tags.items()]:
            self.manifests[name] = self.manifests[one.digest] = one.manifest, OCI_MANIFEST
            self.blobs |= one.blobs
        self._server = _Server()
        self._server.registry = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def asked_for(self, part: str) -> list[dict[str, str]]:
        """The headers of each request with this in its path."""
        return [headers for path, headers in self.asked if part in path]


def wants_login(user: str, password: str) -> Callable[[Request], bool]:
    """Basic authentication."""
    right = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def rule(request: Request) -> bool:
        if request.headers.get("Authorization") == right:
            return False
        return request.answer(401, b"", {"WWW-Authenticate": 'Basic realm="test"'})

    return rule


def wants_token(user: str, password: str, realm: str) -> Callable[[Request], bool]:
    """A token of a server at /token, which wants a name and password."""
    right = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def rule(request: Request) -> bool:
        if request.path.startswith("/token"):
            if request.headers.get("Authorization") != right:
                return request.answer(401, b"")
            return request.answer(200, json.dumps({"token": "sesame"}).encode())
        if request.headers.get("Authorization") == "Bearer sesame":
            return False
        wanted = f'Bearer realm="{realm}/token",service="test",scope="repository:a:pull"'
        return request.answer(401, b"", {"WWW-Authenticate": wanted})

    return rule
