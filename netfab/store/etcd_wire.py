"""The connection to one etcd member: a JSON request, and a JSON response or a refusal."""

from __future__ import annotations

import json
import ssl
from contextlib import suppress
from http.client import (
    HTTPConnection,
    HTTPException,
    HTTPSConnection,
    IncompleteRead,
    RemoteDisconnected,
)
from typing import Any

from netfab.errors import StoreError
from netfab.store.store import NO_SENSE
from netfab.system.certificates import show
from netfab.topology.schema import Etcd

MOST = 64 << 20  # largest response, in bytes
_UNAVAILABLE = (1, 4, 14)  # google.rpc.Code: cancelled, deadline exceeded, unavailable (a lost leader, too)
NO_TOKEN = 16  # unauthenticated: a token expired, or the member was restarted
_HINTS = {
    "user name is empty": "write who you are: `etcd://USER@HOST:PORT?password-file=PATH`",
    "authentication is not enabled": "this etcd has no users: leave `USER@` and `password-file` out",
    "invalid user ID or password": "`etcdctl user passwd` sets another one",
    "permission denied": "its user has to read and write all keys below the store's prefix",
    "database space exceeded": "`etcdctl compact`, `defrag` and `alarm disarm` make room",
    "too large": "etcd's --max-request-bytes allows more",
    "larger than max": "etcd's --max-request-bytes allows more",
}


class Refused(StoreError):
    """A member refused. `again`: another one, or this one later, may accept."""

    def __init__(self, endpoint: str, reason: str, code: int = 0) -> None:
        hint = next((hint for words, hint in _HINTS.items() if words in reason), "")
        super().__init__(f"the store at {endpoint} refuses: {reason}", hint=hint)
        self.reason, self.code = reason, code
        self.again = code in _UNAVAILABLE or "too many requests" in reason


class Wire:
    """A connection that is opened on demand, and reopened if it broke."""

    def __init__(self, endpoint: str, at: Etcd) -> None:
        self.endpoint = endpoint
        self._at = at
        self._connection: HTTPConnection | None = None

    def close(self) -> None:
        """Close it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def ask(self, verb: str, words: Any, seconds: float, token: str = "") -> dict[str, Any]:
        """The response. Raises OSError if there is none within that time, StoreError."""
        known = self._connection is not None
        try:
            return self._exchange(verb, words, seconds, token)
        except ConnectionError:
            self.close()
            if not known:
                raise
            return self._exchange(verb, words, seconds, token)  # it had closed the idle connection
        except OSError:
            self.close()
            raise

    def _exchange(self, verb: str, words: Any, seconds: float, token: str) -> dict[str, Any]:
        if self._connection is None:
            self._connection = self._connected(seconds)
        if self._connection.sock is not None:
            self._connection.sock.settimeout(seconds)
        headers = {"Content-Type": "application/json", **({"Authorization": token} if token else {})}
        try:
            self._connection.request("POST", f"/v3/{verb}", json.dumps(words), headers)
            answer = self._connection.getresponse()
            text = answer.read(MOST)
            if answer.length and len(text) < MOST:  # `read` with a size accepts a truncated body
                raise IncompleteRead(text, answer.length)
        except HTTPException as error:
            self.close()
            tls = "" if self._at.tls else "; one that speaks TLS does so, which is `etcds://`"
            if isinstance(error, RemoteDisconnected | IncompleteRead):
                raise ConnectionError(f"it closed the connection without an answer{tls}") from error
            raise OSError(f"its answer is not HTTP{tls}") from error
        return self._understood(answer.status, text)

    def _understood(self, status: int, text: bytes) -> dict[str, Any]:
        """The decoded response. Raises Refused."""
        with suppress(*NO_SENSE):
            said = json.loads(text)
            if status == 200 and "error" not in said:
                return dict(said)
            reason = said.get("error") or said.get("message")
            raise Refused(self.endpoint, str(reason), int(said.get("code", 0)))
        told = text[:80].decode(errors="replace").strip()
        raise Refused(
            self.endpoint, f"it is not an etcd of version 3.4 or newer, and answers {status} {told}"
        )

    def _connected(self, seconds: float) -> HTTPConnection:
        host, _, port = self.endpoint.rpartition(":")
        if not self._at.tls:
            return HTTPConnection(host.strip("[]"), int(port), timeout=seconds)
        return HTTPSConnection(host.strip("[]"), int(port), timeout=seconds, context=_context(self._at))


def _context(at: Etcd) -> ssl.SSLContext:
    """The TLS context: trusted CAs, and our certificate. Raises StoreError."""
    try:
        made = ssl.create_default_context(cafile=at.ca or None)
        if at.cert:
            show(made, at.cert, at.key)
    except (OSError, ValueError) as error:
        paths = ", ".join(filter(None, (at.ca, at.cert, at.key)))
        raise StoreError(f"the store's certificates ({paths}) can't be read: {error}") from error
    return made


def reason_of(error: OSError) -> str:
    """Why a member could not be reached, for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {(error.reason or str(error)).replace('_', ' ').lower()}"
    return error.strerror or str(error)
