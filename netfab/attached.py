"""What is attached, as it was asked for: kept in the store as leases of the ad-hoc fabric. Only reads."""

from __future__ import annotations

from ipaddress import ip_interface

from netfab.store.store import Store
from netfab.topology.adhoc import NAME, Asked, Attachment
from netfab.topology.schema import Address


def asked(store: Store) -> Asked:
    """All of it."""
    leases = store.leases(NAME)
    kept = [Attachment.from_json(lease.value) for lease in leases if lease.kind == "attachment"]
    made = frozenset(lease.key for lease in leases if lease.kind == "made")
    return Asked({one.key: one for one in kept}, made)


def addresses(store: Store) -> dict[str, dict[Address, str]]:
    """By bridge, the addresses that attachments have there, and whose they are."""
    found: dict[str, dict[Address, str]] = {}
    for one in asked(store).attachments.values():
        here = found.setdefault(one.bridge, {})
        here |= {ip_interface(text).ip: f"guest {one.title}" for text in one.addresses}
    return found
