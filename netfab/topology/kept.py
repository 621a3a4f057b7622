"""What is kept of a file that was applied, and all it said, from that."""

from __future__ import annotations

import os

from netfab.topology.schema import Topology


def kept_text(topology: Topology) -> str:
    """The file's own text if nothing else was read; else everything it said, which takes longer to write."""
    return topology.text or _written_out(topology)


def whole_text(kept: str, file: str, name: str) -> str:
    """The inverse of kept_text for that file: everything it said, as `netfab config` prints it."""
    from netfab.topology.load import load

    return _written_out(load(kept.encode(), file, os.path.dirname(file), {}, name))


def _written_out(topology: Topology) -> str:
    from netfab.topology.config import config

    return config(topology)
