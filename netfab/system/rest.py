"""A rest between two looks at what tells nobody that it has happened.

Whatever does tell is waited for by its descriptor. Nothing here looks: callers say why they have to.
"""

from __future__ import annotations

import select
from collections.abc import Iterable


def rest(seconds: float, until: Iterable[int] = ()) -> None:
    """That long, or until one of these descriptors is readable: then there is something to look at."""
    poll = select.poll()
    for fd in until:
        poll.register(fd, select.POLLIN)
    poll.poll(seconds * 1000)
