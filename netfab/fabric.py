"""The public API: load, plan, apply, destroy, status and their kin, as short functions that join the rooms.

Every function takes a `Where`; nothing is global: a sandbox, a test and this machine are the same to it.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import NamedTuple

from netfab.engine import apply as engine
from netfab.engine.apply import Applied, Observed
from netfab.engine.diff import Change
from netfab.errors import LeaseConflict, NetfabError, StoreError, UndoFailed, raise_all
from netfab.hosts.local import LocalHost
from netfab.hosts.ports import refuse_busy
from netfab.look import bridges, inspect, name_of, plan_data, status
from netfab.nics import as_they_came_back, nics_of
from netfab.nodes import execute, logs, programs, run_commands
from netfab.objects.base import Fabric
from netfab.objects.kinds import KINDS
from netfab.plan.facts import Facts
from netfab.plan.nics import claims
from netfab.plan.planner import Plan, summary
from netfab.plan.planner import plan as plan_topology
from netfab.plan.prefixes import reasons
from netfab.plan.protection import lease_of
from netfab.plan.renames import renamed
from netfab.plan.subnets import Reservation
from netfab.store.public import PublicView, publish, withdraw
from netfab.store.store import Record, Store
from netfab.topology.schema import FileWish, Topology
from netfab.visits import as_they_are_now, guests_of
from netfab.where import (
    HERE,
    Where,
    known_record,
    last_applied,
    last_of_any,
    locked_fabric,
    need_root,
    opened_host,
    opened_store,
    records,
)

__all__ = [
    "HERE",
    "Applied",
    "Proposal",
    "Record",
    "Where",
    "apply",
    "bridges",
    "destroy",
    "drift",
    "execute",
    "inspect",
    "load",
    "logs",
    "name_of",
    "plan",
    "plan_data",
    "programs",
    "reconcile",
    "records",
    "recover",
    "status",
]

ATTEMPTS = 20  # at planning, when other processes claim what was planned


class Proposal(NamedTuple):
    """What apply would do.

    `live` is False when it was compared with what was last applied, not with the kernel.
    """

    topology: Topology
    plan: Plan
    changes: tuple[Change, ...]
    live: bool
    reasons: tuple[str, ...] = ()


def load(file: str, name: str | None = None) -> Topology:
    """Read and check a topology file, `-` for standard input.

    Raises TopologyError, or Several of them; NetfabError where a file can't be read.
    """
    from netfab.topology.load import load as parse

    if file == "-":
        import sys

        return _with_sources(parse(sys.stdin.buffer.read(), "-", os.getcwd(), os.environ, name))
    try:
        with open(file, "rb") as opened:
            text = opened.read((4 << 20) + 1)
    except OSError as error:
        raise NetfabError(f"{file}: {error.strerror}") from error
    return _with_sources(parse(text, file, os.path.dirname(os.path.abspath(file)), os.environ, name))


def _with_sources(topology: Topology) -> Topology:
    """The topology with every `source` of `files` read, so that planning needs no file but this one."""
    errors: list[NetfabError] = []

    def read(wish: FileWish) -> FileWish:
        if wish.source is None:
            return wish
        try:
            with open(wish.source, "rb") as file:
                return wish._replace(content=file.read().decode("utf-8", "surrogateescape"))
        except OSError as error:
            errors.append(NetfabError(f"{wish.source}: {error.strerror}", at=wish.at))
            return wish

    if not any(file.source for node in topology.nodes.values() for file in node.files):
        return topology
    nodes = {name: node._replace(files=tuple(map(read, node.files))) for name, node in topology.nodes.items()}
    raise_all(errors)
    return topology._replace(nodes=nodes)


def plan(topology: Topology, where: Where = HERE, why: bool = False) -> Proposal:
    """Plan, and compare with the kernel; without root, with what was last applied. Changes nothing.

    With `why`, also the reason for each subnet: what was rejected, and who holds it.
    """
    with opened_store(where) as store, opened_host(topology.name, where) as host:
        leases, facts = store.leases(topology.name), _facts(host, store, topology)
        proposed = plan_topology(topology, leases, facts, where.run)
        chosen = json.dumps(summary(topology, proposed))
        proposed = _with_renames(proposed, store.record(topology.name), chosen)
        last = last_applied(store, topology.name, KINDS)
        live = os.geteuid() == 0
        observed = host.observe(topology.name, (proposed.fabric, last)) if live else Observed(last, {})
        wanted = proposed.fabric if live else proposed.fabric.public()
        changes = engine.changes_for(wanted, observed)
        keys = (lease.key for lease in leases)
        told = tuple(reasons(topology, proposed.layout.prefixes, facts, keys)) if why else ()
        return Proposal(topology, proposed, changes, live, told)


def apply(
    topology: Topology, file: str, where: Where = HERE, take_over: bool = False, second: bool = False
) -> tuple[Plan, Applied]:
    """Make the kernel match the topology, and read it back.

    `take_over`: the file replaces the one that the fabric was applied from; `second`: this is another fabric
    of a file that is applied already. Raises NetfabError when nothing was changed, or all was undone;
    UndoFailed says what is left.
    """
    need_root("apply")
    name = topology.name
    with locked_fabric(name, where), opened_store(where) as store, opened_host(name, where) as host:
        record, leases = store.record(name), store.leases(name)
        _refuse_another(record, file, take_over)
        if record is None and not second:
            _refuse_renamed(name, file, store)
        last = last_applied(store, name)
        try:
            proposed = _claim(topology, host, store, where)
            if proposed.published:
                refuse_busy(wish for wish in proposed.published if lease_of(wish) not in leases)
            made = Record(
                name, file, os.getuid(), Fabric(name).to_json(), json.dumps(summary(topology, proposed))
            )
            if record is None:  # from here on there may be something of it, whatever happens to us
                store.commit(made, proposed.wants)
            proposed = _with_renames(proposed, record, made.summary)
            applied = engine.apply(proposed.fabric, host, (last,), where.progress)
            try:
                run_commands(proposed.commands, made, applied.changes)
                if applied.changes or not _is_known(record, made) or proposed.wants != leases:
                    _remember(made, proposed, store, where)
            except NetfabError as failure:
                engine.undo(applied.before, host, (proposed.fabric, last), failure)
                failure.undone = True
                raise
        except UndoFailed:
            raise
        except BaseException:
            with suppress(StoreError):  # what failed first is what the user has to know
                store.commit(record, leases) if record else store.forget(name)
            raise
        host.wait_ready(proposed.fabric)
        host.announce(proposed.fabric, applied.changes)
        return proposed, applied


def _is_known(record: Record | None, made: Record) -> bool:
    """Whether the store has all of it: of an apply that was killed it has no objects."""
    same = record is not None and record._replace(desired="") == made._replace(desired="")
    return same and record != made


def _remember(made: Record, proposed: Plan, store: Store, where: Where) -> None:
    """Keep what was applied, and tell everybody what everybody may know of it."""
    store.commit(made._replace(desired=proposed.fabric.to_json()), proposed.wants)
    publish(where.run, made._replace(desired=proposed.fabric.public().to_json()), proposed.wants)


def destroy(name: str, where: Where = HERE) -> Applied:
    """Leave nothing of the fabric behind: the empty set, applied. What isn't there is fine.

    A store that is full, read-only or broken hinders nothing; StoreError then says that it still has the
    fabric.
    """
    need_root("destroy")
    with locked_fabric(name, where), opened_host(name, where) as host:
        known = (last_of_any(name, where),)
        applied = engine.apply(
            Fabric(name), host, known, where.progress, back=lambda: last_of_any(name, where, KINDS)
        )
        withdraw(where.run, name)
        try:
            with opened_store(where) as store:
                store.forget(name)
        except StoreError as error:
            told = f"fabric {name} is gone from this host, but not from the store: {error.message}"
            raise StoreError(
                told, hint=error.hint or "`netfab destroy` again when it can be written to"
            ) from error
        return applied


def drift(name: str, where: Where = HERE) -> tuple[Change, ...]:
    """What others changed since the last apply: how to make it as it was. No file needed."""
    need_root("drift")
    with opened_store(where) as store, opened_host(name, where) as host:
        wanted = as_they_are_now(Fabric.from_json(known_record(store, name).desired, KINDS))
        return engine.changes_for(wanted, host.observe(name, (wanted, last_applied(store, name))))


def reconcile(name: str, where: Where = HERE) -> Applied:
    """Repair what others changed since the last apply; after a reboot, all of it."""
    need_root("reconcile")
    with locked_fabric(name, where), opened_store(where) as store, opened_host(name, where) as host:
        record = _with_nics_as_they_are(known_record(store, name), host, store)
        wanted = as_they_are_now(Fabric.from_json(record.desired, KINDS))
        applied = engine.apply(wanted, host, (last_applied(store, name),), where.progress)
        host.announce(wanted, applied.changes)
        publish(where.run, record._replace(desired=wanted.public().to_json()), store.leases(name))
        return applied


def _with_nics_as_they_are(record: Record, host: LocalHost, store: Store) -> Record:
    """The record; what NICs that are to be moved again would have to get back is kept before they are."""
    last = Fabric.from_json(record.desired, KINDS)
    now = as_they_came_back(last, host)
    if now == last:
        return record
    kept = record._replace(desired=now.to_json())
    others = {lease for lease in store.leases(record.name) if lease.kind != "inside"}
    store.commit(kept, others.union(claims(now)))
    return kept


def recover(where: Where = HERE) -> list[str]:
    """Rebuild a store that is lost or broken; what was done about it, a line each.

    Leases come from what is published, the objects from what the kernel shows.
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
        for record in view.records():
            if store.record(record.name) is None:
                published = Fabric.from_json(record.desired, KINDS)
                with opened_host(record.name, where) as host:
                    shown = host.observe(record.name, (published,)).own
                store.commit(record._replace(desired=shown.to_json()), view.leases(record.name))
                lines.append(f"recovered fabric {record.name}, applied from {record.file}")
    return lines or ["nothing to recover: the store is whole"]


def _with_renames(proposed: Plan, record: Record | None, chosen: str) -> Plan:
    """The plan, with a warning for each interface that changes its name."""
    if record is None or record.summary == chosen:
        return proposed
    told = renamed(json.loads(record.summary)["nodes"], json.loads(chosen)["nodes"])
    return proposed._replace(warnings=(*proposed.warnings, *told))


def _claim(topology: Topology, host: LocalHost, store: Store, where: Where) -> Plan:
    """Plan, and hold what is planned; plan again when another process was first."""
    for attempt in range(ATTEMPTS):
        proposed = plan_topology(
            topology, store.leases(topology.name), _facts(host, store, topology), where.run
        )
        try:
            store.claim(topology.name, proposed.wants)
        except LeaseConflict:
            if attempt == ATTEMPTS - 1:
                raise
        else:
            return proposed
    raise AssertionError("unreachable")


def _facts(host: LocalHost, store: Store, topology: Topology) -> Facts:
    """What the planner is told: of the host, and of what fabrics hold on it."""
    facts, name = host.facts(), topology.name
    held = tuple(
        Reservation(subnet.prefix, f"network {subnet.network} of fabric {subnet.fabric}")
        for subnet in store.held(name)
    )
    own = {lease.key: lease.value for lease in store.leases(name) if lease.kind == "borrowed"}
    originals = {**facts.sysctls, **store.borrowed(name), **own}
    published = store.published(name)
    return facts._replace(
        reservations=held + facts.reservations,
        sysctls=originals,
        published=published,
        guests=guests_of(topology),
        nics=nics_of(topology, host, store),
    )


def _refuse_renamed(name: str, file: str, store: Store) -> None:
    """A file whose `name` was changed is not a second fabric by mistake."""
    for other in store.records():
        if other.file == file != "-":
            raise NetfabError(
                f"{file} is applied as fabric {other.name}, and is now called {name}",
                hint=f"`netfab destroy {other.name}` first;"
                f" or, for a second fabric of this file, --name {name}",
            )


def _refuse_another(record: Record | None, file: str, take_over: bool) -> None:
    """A second checkout of a file must not eat the first one's fabric."""
    if record is not None and record.file != file and not take_over:
        raise NetfabError(
            f"fabric {record.name} was applied from {record.file}, not from {file}",
            hint="--name NAME makes a second fabric of this file; "
            "--take-over means that this file replaces the other",
        )
