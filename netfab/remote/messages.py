"""The messages between a controller and an agent: one JSON object per line, with a `verb`.

Both sides treat the other's messages as untrusted input: a line that is too long or no message is one clear
error. Errors are sent as the text for the user.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from netfab.errors import LeaseConflict, Locked, NetfabError, NotAll, Several, each_of
from netfab.store.store import NO_SENSE

PROTOCOL = 1
MAX_LINE = 64 << 20  # bytes; a thousand nodes take one or two MiB
Message = dict[str, Any]
T = TypeVar("T")


class BadMessage(NetfabError):
    """What was received is no valid message."""


class StaleBase(NetfabError):
    """Another controller applied the fabric since this one read its generation."""


def encode(message: Message) -> bytes:
    """A message as a line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Message:
    """The inverse of encode. Raises BadMessage."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadMessage(f"this is not a message: {excerpt(line)}") from error
    if not isinstance(found, dict) or not isinstance(found.get("verb"), str):
        raise BadMessage(f"this message has no verb: {excerpt(line)}")
    return found


def excerpt(line: bytes) -> str:
    """The beginning of a line, safe to print."""
    return ascii(line[:60].decode(errors="replace"))


def field(message: Message, key: str, kind: type[T]) -> T:
    """A message's value for that key. Raises BadMessage if it is missing, or of another type."""
    found = message.get(key)
    if not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool):
        raise BadMessage(f"the message {message['verb']} has {key} = {excerpt(repr(found).encode())}")
    return found


@contextmanager
def understood(host: str) -> Iterator[None]:
    """Parse a host's answer within this. Raises BadMessage, naming the host, if it is invalid."""
    try:
        yield
    except NO_SENSE as error:
        raise BadMessage(f"{host} gives an invalid answer: {excerpt(repr(error).encode())}") from error


class Lines:
    """Reads lines from a file descriptor."""

    def __init__(self, fd: int, limit: int = MAX_LINE) -> None:
        self.fd = fd
        self._limit = limit
        self._buffer = bytearray()
        self._searched = 0

    def fill(self) -> bool:
        """Read what is available; waits for it if the descriptor blocks. False at end of file."""
        try:
            part = os.read(self.fd, 1 << 20)
        except ConnectionResetError:
            part = b""
        self._buffer += part
        return bool(part)

    def take(self) -> bytes | None:
        """The next complete line without its newline, or None. Raises BadMessage for one that is too long."""
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._buffer)
            if self._searched > self._limit:
                raise BadMessage(f"a message has more than {self._limit >> 20} MiB")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return line


# The errors that a controller distinguishes.
_KINDS = {kind.__name__: kind for kind in (Locked, StaleBase, LeaseConflict)}


def failure(error: NetfabError) -> Message:
    """An error as a message."""
    return {
        "verb": "failed",
        "kind": type(error).__name__,
        "errors": [{"message": str(one), "hint": one.hint} for one in each_of(error)],
        "undone": error.undone,
        "done": error.done if isinstance(error, NotAll) else (),
    }


def error_of(host: str, message: Message) -> NetfabError:
    """The inverse of `failure`, as an error of that host."""
    kind, said = message.get("kind"), message.get("errors")
    made = _KINDS.get(kind, NetfabError) if isinstance(kind, str) else NetfabError
    each = [one for one in said if isinstance(one, dict)] if isinstance(said, list) else []
    errors = [made(f"{host}: {one.get('message')}", hint=str(one.get("hint", ""))) for one in each]
    done = message.get("done")
    if errors and isinstance(done, list) and done:
        return NotAll(errors, map(str, done))
    if len(errors) == 1:
        return errors[0]
    return Several(errors or [NetfabError(f"{host} failed, and does not say why")])
