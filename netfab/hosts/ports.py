"""Whether a port of the host is somebody's already: asked before anything is made."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from errno import EADDRINUSE

from netfab.errors import NetfabError, PlanError, raise_all
from netfab.topology.schema import Publish

_KINDS = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}


def refuse_busy(published: Iterable[Publish]) -> None:
    """Raises PlanError for every port that a program on this host listens on."""
    raise_all(_refusal(wish) for wish in published if _busy(wish))


def _refusal(wish: Publish) -> NetfabError:
    return PlanError(
        f"port {wish.host_port}/{wish.protocol} of this host is in use by another program",
        at=wish.at,
        hint=f"`ss -lnp 'sport = :{wish.host_port}'` shows which",
    )


def _busy(wish: Publish) -> bool:
    kind, protocol = _KINDS[wish.protocol]
    families = [socket.AF_INET, socket.AF_INET6] if wish.host_address is None else []
    if wish.host_address is not None:
        families = [socket.AF_INET if wish.host_address.version == 4 else socket.AF_INET6]
    for family in families:
        try:
            with socket.socket(family, kind, protocol) as probe:
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                if kind == socket.SOCK_STREAM:  # connections that linger do not count, listeners do
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((str(wish.host_address or ""), wish.host_port))
        except OSError as error:
            if error.errno == EADDRINUSE:
                return True
    return False
