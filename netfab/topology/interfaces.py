"""Default names of a node's interfaces."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from netfab.topology.grammar import tag_of
from netfab.topology.schema import PLANNED, Planned


def interface_names(written: Sequence[str | Planned], is_guest: bool) -> list[str]:
    """All, in order: as written, else eth0, eth1 … without those, and without parents of VLAN interfaces.

    A guest has an eth0 of its own.
    """
    taken = {name for name in written if not isinstance(name, Planned)}
    taken |= {tag[0] for name in taken if (tag := tag_of(name))}
    free = (name for number in count(1 if is_guest else 0) if (name := f"eth{number}") not in taken)
    return [next(free) if name is PLANNED else str(name) for name in written]
