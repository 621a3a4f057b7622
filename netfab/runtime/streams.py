"""The descriptors of a command's standard streams."""

from __future__ import annotations

from netfab.tuples import NamedTuple


class Streams(NamedTuple):
    """Descriptors 0, 1 and 2 of the command, or what is copied to and from its terminal."""

    stdin: int = 0
    stdout: int = 1
    stderr: int = 2


OWN_STREAMS = Streams()  # the caller's
