"""The secret that keys of encrypted networks are derived from; the controller keeps it beside its book."""

from __future__ import annotations

import os

from netfab.errors import NetfabError
from netfab.topology.schema import Topology
from netfab.where import Where, opened_book


def _encrypted(topology: Topology) -> bool:
    """Whether any network is encrypted."""
    return bool(topology.hosts) and any(network.encrypt for network in topology.networks.values())


def secret_of(topology: Topology, where: Where) -> bytes:
    """The secret, or a new one that the caller has to keep; b"" if none is needed."""
    if not _encrypted(topology):
        return b""
    return opened_book(where).secret(topology.name) or os.urandom(32)


def secret_alone(topology: Topology, where: Where) -> bytes:
    """The secret. Raises NetfabError if it is missing here: all hosts need the same."""
    if not _encrypted(topology):
        return b""
    book = opened_book(where)
    secret = book.secret(topology.name)
    if secret is None:
        path = book.path_of_secret(topology.name)
        raise NetfabError(
            f"there is no {path}, which keys between the hosts are derived from",
            hint="put the same one on each host, mode 600: 64 hexadecimal digits, by `openssl rand -hex 32`",
        )
    return secret
