"""A rest between two looks at what tells nobody that it has happened.

Whatever does tell is waited for by its descriptor. Nothing here looks: callers say why they have to.
"""

from __future__ import annotations

from collections.abc import Iterable

from netfab.system.poll import readable


def rest(seconds: float, until: Iterable[int] = ()) -> None:
    """Sleep that long, or until one of these descriptors is readable."""
    readable(until, seconds)
