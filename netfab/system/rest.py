"""The pause between two polls of something that announces no change.

Whatever does announce a change is waited for by its descriptor. Callers say why they have to poll.
"""

from __future__ import annotations

from collections.abc import Iterable

from netfab.system.poll import readable


def rest(seconds: float, until: Iterable[int] = ()) -> None:
    """Sleep that long, or until one of these descriptors is readable."""
    readable(until, seconds)
