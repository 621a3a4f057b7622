"""Rolls back a change that cut the controller off: a child on the host, forked before the change."""

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

CUT_OFF = 30.0  # seconds in which the controller has to show that it still reaches this host


def keeper_for(desired: Fabric, confirm: float, by_ssh: bool, where: Where) -> Armed | None:
    """The child, if it may be needed; call it before the store is opened to stay: SQLite hangs in a fork.

    `confirm`: seconds, from the user; `by_ssh`: the controller comes over the network. Raises NetfabError
    while another change awaits confirmation.
    """
    name = desired.name
    with opened_store(where) as store:
        before = name, store.record(name), store.leases(name), store.part(name)
        lent = (*desired.values(), *last_applied(store, name, KINDS.of({"Uplink"})).values())
    cuts_off = by_ssh and any(isinstance(thing, Uplink) for thing in lent)
    seconds = confirm or (CUT_OFF if cuts_off else 0.0)
    if not seconds:
        return None
    from netfab.unattended.confirm import Armed, Before, Terms  # imports all that a rollback needs

    return Armed(Before(*before), Terms(seconds), where)


def may_cut_off(changes: Sequence[Change]) -> bool:
    """Whether a NIC of the host changes hands."""
    return any(isinstance(thing, Uplink) for change in changes for thing in (change.before, change.after))
