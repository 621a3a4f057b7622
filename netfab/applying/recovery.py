"""`netfab recover`: rebuild a lost or broken store from what is published and from the kernel."""

from __future__ import annotations

from collections.abc import Iterator

from netfab.errors import StoreError
from netfab.objects.kinds import KINDS
from netfab.store.public import PublicView
from netfab.store.store import Store
from netfab.topology.grammar import NO_FABRIC_NAMES
from netfab.where import HERE, Where, last_published, need_root, opened_host, opened_store


def recover(where: Where = HERE) -> list[str]:
    """Rebuild a store that is lost or broken; what was done, a line each.

    Leases come from the published records, the objects from the kernel.
    """
    need_root("recover")
    from netfab.store.sqlite import SqliteStore, set_aside

    lines = []
    try:
        SqliteStore(where.state).close()
    except StoreError as error:
        lines.append(f"{error}; kept as {set_aside(where.state)}")
    view = PublicView(where.run)
    with opened_store(where) as store:
        for record in view.records_that_are_whole():
            if store.record(record.name) is None:
                published = last_published(record.name, where, KINDS)
                with opened_host(record.name, where) as host:
                    shown = host.observe(record.name, (published,)).own
                store.commit(record._replace(desired=shown.to_json()), view.leases(record.name))
                origin = f", applied from {record.file}" if record.file else ""
                lines.append(f"recovered fabric {record.name}{origin}")
        lines += _beyond_recovery(store, where)
    return lines or ["nothing to recover: the store is whole"]


def _beyond_recovery(store: Store, where: Where) -> Iterator[str]:
    """Fabrics that the kernel shows but neither store nor published records have whole, and what to do."""
    with opened_host("", where) as host:
        found = host.marked(NO_FABRIC_NAMES)
    for name in found.fabrics:
        if store.record(name) is None:
            yield (
                f"fabric {name} is on this host, and its record is lost: `netfab apply` of its file takes it"
                f" up again, `netfab destroy {name}` removes it"
            )
    for link in found.nameless:
        yield f"{link} is of a fabric whose name is lost: `netfab destroy` with its file or name removes it"
