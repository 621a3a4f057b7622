"""Destroying a fabric: apply the empty set. It plans nothing, and needs no planner."""

from __future__ import annotations

from netfab.engine import apply as engine
from netfab.engine.apply import Applied
from netfab.errors import StoreError
from netfab.kernel.dumps import LO, UNSTEADY
from netfab.objects.base import Fabric
from netfab.objects.kinds import KINDS
from netfab.store.public import withdraw
from netfab.where import (
    HERE,
    Where,
    last_of_any,
    locked_fabric,
    need_root,
    opened_book,
    opened_host,
    opened_store,
)


def destroy(name: str, where: Where = HERE, force: bool = False) -> Applied:
    """Remove everything of the fabric: applies the empty set. What does not exist is no error.

    `force`: even if others have ports on its bridges. A store that is full, read-only or broken does not
    prevent it; StoreError then says that the store still has the fabric.
    """
    need_root("destroy")
    with locked_fabric(name, where), opened_host(name, where) as host:
        host.read_ahead(LO, host=UNSTEADY)
        known = (last_of_any(name, where),)
        applied = engine.apply(
            Fabric(name),
            host,
            known,
            where.progress,
            back=lambda: last_of_any(name, where, KINDS),
            force=force,
        )
        withdraw(where.run, name)
        opened_book(where).forget_secret(name)
        try:
            with opened_store(where) as store:
                store.forget(name)
        except StoreError as error:
            told = f"fabric {name} is gone from this host, but not from the store: {error.message}"
            raise StoreError(
                told, hint=error.hint or "`netfab destroy` again when it can be written to"
            ) from error
        return applied
