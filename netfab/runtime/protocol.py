"""What client and supervisor agree on. Requests and answers: one SOCK_SEQPACKET message each, as JSON."""

from __future__ import annotations

from netfab import TYPE_CHECKING
from netfab.errors import ContainerFailed, NetfabError

if TYPE_CHECKING:
    from typing import Any

MESSAGE_LIMIT = 1 << 17  # bytes; below the send buffer that Linux gives by default (net.core.wmem_default)
NAME_LIMIT = 2000  # names in one request, to stay below that
DESCRIPTOR_LIMIT = 200  # of one message; the kernel's own limit is 253 (SCM_MAX_FD)

WORD = b"!"  # what a supervisor that was begun waits for
READY, BUSY = b"\0+", b"\0-"  # its answers, which no error text ends with; BUSY: there is one already


def describe(error: NetfabError) -> dict[str, Any]:
    """An error as JSON."""
    if isinstance(error, ContainerFailed):
        return {"step": error.step, "errno": error.errno, "path": error.path}
    return {"text": str(error), "hint": error.hint}


def error_from(name: str, described: dict[str, Any]) -> NetfabError:
    """The inverse of describe, as an error of that container."""
    if "step" in described:
        return ContainerFailed(name, described["step"], described["errno"], described["path"])
    return NetfabError(described["text"], hint=described["hint"])
