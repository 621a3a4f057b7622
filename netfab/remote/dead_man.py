"""Who takes a change back that cut the controller off: a child on the host, from before the change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from netfab.engine.diff import Change
from netfab.objects.base import Fabric
from netfab.objects.kinds import KINDS
from netfab.objects.uplink import Uplink
from netfab.where import Where, last_applied, opened_store

if TYPE_CHECKING:
    from netfab.unattended.confirm import Armed

CUT_OFF = 30.0  # seconds in which a controller has to show that it still gets here


def keeper_for(desired: Fabric, confirm: float, by_ssh: bool, where: Where) -> Armed | None:
    """The child, where it may be needed; before the store is opened for good: SQLite hangs in a fork.

    `confirm`: seconds that the user gave; `by_ssh`: the controller comes by the network. Raises NetfabError
    while another change waits.
    """
    name = desired.name
    with opened_store(where) as store:
        before = name, store.record(name), store.leases(name), store.part(name)
        lent = (*desired.values(), *last_applied(store, name, KINDS.of({"Uplink"})).values())
    cuts_off = by_ssh and any(isinstance(thing, Uplink) for thing in lent)
    seconds = confirm or (CUT_OFF if cuts_off else 0.0)
    if not seconds:
        return None
    from netfab.unattended.confirm import Armed, Before, Terms  # with all that takes a change back

    return Armed(Before(*before), Terms(seconds), where)


def may_cut_off(changes: Sequence[Change]) -> bool:
    """Whether a NIC of the host is moved."""
    return any(isinstance(thing, Uplink) for change in changes for thing in (change.before, change.after))
