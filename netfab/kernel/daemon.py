"""One read-only question to a daemon behind a unix socket, in HTTP: Docker's API, which Podman speaks, too.

Knows how long and how large an answer may be, and nothing of what it means. The daemon is a stranger:
whatever it sends is an answer or one error.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from contextlib import suppress
from errno import EAGAIN
from time import monotonic
from typing import Any

from netfab.errors import NoAnswer

TIMEOUT = 5.0  # seconds for the whole answer
MOST = 8 << 20  # bytes of an answer
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


def get(path: str, target: str) -> Any:
    """The parsed answer of the daemon at `path` to GET `target`.

    HTTP/1.0, whose answers end with the connection (RFC 1945, section 7.2.2); redirects are not
    followed. Raises NoAnswer; OSError if nobody listens there, or we have no access.
    """
    request = f"GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode("ascii")
    return parse(path, _exchange(path, request))


def parse(path: str, answer: bytes) -> Any:
    """The JSON in a complete answer. Raises NoAnswer."""
    head, end, body = answer.partition(b"\r\n\r\n")
    words = head.partition(b"\r\n")[0].split()
    if not end or len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not _is_status(words[1]):
        raise NoAnswer(path, "does not answer in HTTP")
    if words[1] != b"200":
        raise NoAnswer(path, f"answers {words[1].decode()}", int(words[1]))
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:  # nested too deep for the parser
        raise NoAnswer(path, "answers what is not JSON, or too deep") from error


def numbers_processes_as_we_do(path: str) -> bool:
    """Whether the listener of that socket is in our PID namespace, as far as we may look; unix(7).

    Raises OSError if nobody listens.
    """
    with socket.socket(socket.AF_UNIX) as door:
        door.settimeout(TIMEOUT)
        door.connect(os.fsencode(path))
        peer = door.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, _, _ = _CREDENTIALS.unpack(peer)
    if pid == 0:  # not visible from here
        return False
    with suppress(OSError):  # not root; or it passed the socket on
        return os.path.samestat(os.stat(f"/proc/{pid}/ns/pid"), os.stat("/proc/self/ns/pid"))
    return True


def listens(path: str) -> bool:
    """Whether somebody listens at that socket, even if too busy to accept, which is not waited for."""
    with socket.socket(socket.AF_UNIX) as door:
        door.setblocking(False)
        return door.connect_ex(os.fsencode(path)) in (0, EAGAIN)


def _exchange(path: str, request: bytes) -> bytes:
    deadline = monotonic() + TIMEOUT
    answer = bytearray()
    with socket.socket(socket.AF_UNIX) as door:
        door.settimeout(TIMEOUT)
        door.connect(os.fsencode(path))
        try:
            door.sendall(request)
            while data := door.recv(1 << 16):
                answer += data
                if len(answer) > MOST:
                    raise NoAnswer(path, f"answers with more than {MOST >> 20} MiB")
                left = deadline - monotonic()  # not a fresh timeout: trickling data would last for ever
                if left <= 0:
                    raise TimeoutError
                door.settimeout(left)
        except TimeoutError as error:
            raise NoAnswer(path, f"gives no whole answer within {TIMEOUT:.0f} s") from error
        except ConnectionError as error:
            raise NoAnswer(path, "ends the conversation") from error
    return bytes(answer)


def _is_status(word: bytes) -> bool:
    return len(word) == 3 and word.isdigit()
