"""What client and supervisor agree on. Requests and answers: one SOCK_SEQPACKET message each, as JSON."""

from __future__ import annotations

from typing import Any

from netfab.errors import ContainerFailed, NetfabError

MESSAGE_LIMIT = 1 << 17  # bytes; below the send buffer that Linux gives by default (net.core.wmem_default)
NAME_LIMIT = 2000  # names in one request, to stay below that
DESCRIPTOR_LIMIT = 200  # of one message; the kernel's own limit is 253 (SCM_MAX_FD)

READY, FAILED, BUSY = 0, 1, 3  # exit statuses of the process that starts a supervisor; BUSY: there is one


def describe(error: NetfabError) -> dict[str, Any]:
    """An error as JSON."""
    if isinstance(error, ContainerFailed):
        return {"step": error.step, "errno": error.errno, "path": error.path}
    return {"text": str(error), "hint": error.hint}


def error_from(name: str, described: dict[str, Any]) -> NetfabError:
    """The inverse of describe, for that container."""
    if "step" in described:
        return ContainerFailed(name, described["step"], described["errno"], described["path"])
    return NetfabError(described["text"], hint=described["hint"])
