"""Recording what was applied: all of it in the store, the public part in the run directory."""

from __future__ import annotations

from netfab.objects.base import Fabric
from netfab.plan.leases import Lease
from netfab.store.public import publish
from netfab.store.store import Part, Record, Store
from netfab.where import Where


def remember(
    made: Record,
    desired: Fabric,
    claims: frozenset[Lease],
    store: Store,
    where: Where,
    part: Part | None = None,
) -> None:
    """Store what was applied, and publish what everybody may read of it."""
    known = made._replace(desired=desired.to_json())
    store.commit(known, claims, part)
    publish(where.run, public_record(known, desired), claims)


def public_record(record: Record, fabric: Fabric) -> Record:
    """The record of that fabric, without the secrets of its objects."""
    public = fabric.public()
    return record if public is fabric else record._replace(desired=public.to_json())
