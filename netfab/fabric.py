"""The public API: plan, apply, destroy, reconcile and the like, as short functions that join the packages.

Every function takes a `Where`; nothing is global: a sandbox, a test and this machine are all the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from netfab.applying.proposal import Proposal, claim, commands_of, plan, summary_of, with_part, with_renames
from netfab.applying.pulling import with_its_images
from netfab.applying.recording import public_record, remember
from netfab.engine import apply as engine
from netfab.engine.apply import Applied
from netfab.engine.diff import Change, as_applied
from netfab.errors import (
    IDENTIFY,
    MOUNT,
    RUN,
    ContainerFailed,
    NetfabError,
    StoreError,
    UndoFailed,
    Unsupported,
    each_of,
    raise_all,
)
from netfab.facts import shared_bridges
from netfab.facts.guests import as_they_are_now, ended
from netfab.hosts.local import LocalHost
from netfab.objects.base import Fabric
from netfab.objects.kinds import KINDS
from netfab.plan.leases import Lease
from netfab.plan.node import has_namespace
from netfab.plan.planner import Plan
from netfab.store.public import publish
from netfab.store.store import NO_COMMANDS, Part, Record, Store
from netfab.topology.adhoc import NAME as ADHOC
from netfab.topology.schema import Topology
from netfab.where import (
    HERE,
    Where,
    applying_user,
    kept_of,
    last_applied,
    locked_fabric,
    need_kernel,
    need_root,
    opened_host,
    opened_store,
    read_store,
    records,
    records_of_any,
    refuse_another,
    refuse_elsewhere,
    whole_record,
)

if TYPE_CHECKING:
    from netfab.applying.destruction import destroy
    from netfab.files.loading import load
    from netfab.files.saved_plans import SavedPlan
    from netfab.nodes.by_name import capture, execute, logs, programs
    from netfab.queries.status import bridges, name_of, plan_data, status, topology_of, warnings

__all__ = [
    "HERE",
    "Applied",
    "Proposal",
    "Record",
    "Where",
    "apply",
    "applying_user",
    "bridges",
    "capture",
    "destroy",
    "drift",
    "execute",
    "go_back",
    "load",
    "logs",
    "name_of",
    "plan",
    "plan_data",
    "programs",
    "reconcile",
    "records",
    "records_of_any",
    "status",
    "topology_of",
    "validate",
    "warnings",
]


_ELSEWHERE = dict.fromkeys(("capture", "execute", "logs", "programs"), "netfab.nodes.by_name")
_ELSEWHERE |= {"destroy": "netfab.applying.destruction", "load": "netfab.files.loading"}


def __getattr__(name: str) -> Any:
    """What apply does not need is defined elsewhere, and imported on first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ELSEWHERE.get(name, "netfab.queries.status")), name)


def validate(topology: Topology) -> None:
    """Raises NetfabError for what can't be planned on any host; `plan` checks the rest against this one."""
    from netfab.plan.layout import refuse_on_every_host

    refuse_on_every_host(topology)


def apply(
    topology: Topology,
    file: str,
    where: Where = HERE,
    take_over: bool = False,
    second: bool = False,
    only: Collection[str] = (),
    saved: SavedPlan | None = None,
) -> tuple[Plan, Applied]:
    """Make the kernel match the topology, and read it back.

    `take_over`: the file replaces the one that the fabric was applied from; `second`: this is another fabric
    of a file that is applied already; `only`: change only what those nodes have or need; `saved`: change
    nothing unless file and kernel are as they were when that plan was saved. Raises NetfabError when nothing
    was changed, or all was undone; UndoFailed says what is left.
    """
    need_root("apply")
    need_kernel()
    if topology.store is not None:
        raise Unsupported("a fabric of a shared store is across.apply's", at=topology.at.of("store"))
    name, written = topology.name, topology
    with (
        with_its_images(topology, where, only) as topology,
        locked_fabric(name, where),
        opened_store(where) as store,
        opened_host(name, where) as host,
    ):
        if not any(node.attach for node in topology.nodes.values()):  # else guests are found first
            host.read_ahead()
        if not only:
            host.expect(name for name, node in topology.nodes.items() if has_namespace(node))
        before = kept_of(store, name)
        found, leases = before.record, before.leases
        record = found if found and found.whole else None
        begun = found is not record  # its first apply was killed: a failure goes back to nothing
        topology = shared_bridges.joined(topology, shared_bridges.networks_of(store))
        refuse_another(found, file, take_over)
        if found is None:
            refuse_elsewhere(name, where)
        if found is None and not second:
            _refuse_renamed(name, file, store)
        last = before.applied()
        try:
            proposed = claim(topology, host, store, where, only, record, last)
            if proposed.published:
                from netfab.hosts.ports import refuse_busy

                refuse_busy(proposed.published, host.held())
            made = Record(
                name,
                file,
                applying_user(),
                "",
                summary_of(topology, proposed, record),
                commands_of(proposed, record),
            ).begun()
            if record is None:  # recorded before the first change, in case this process is killed
                store.commit(made, proposed.claims)
            warnings, proposed = proposed.warnings, with_renames(proposed, record, made.summary)
            desired = _aim(proposed, host, last, saved, begun)
            back = (lambda: Fabric(name)) if begun else None
            with _told_where(topology):
                applied = engine.apply(desired, host, (last,), where.progress, back)
            if not applied.changes:  # otherwise checked before the first change
                raise_all(host.foreign_drops(desired.values()))
            if begun:
                applied = applied._replace(before=Fabric(name))
            sealing = topology.origin and proposed.nodes is None
            shown = host.fingerprint(desired.values()) if sealing else ""  # desired is what was read
            host.forget()  # frees memory: writing the record takes as much again
            with _undone_on_failure(applied, host, (desired, last)):
                _run_commands(made, applied.changes, where)
                claims = _claims(proposed, leases)
                if applied.changes or not _is_known(record, made) or claims != leases or only:
                    if not only:
                        from netfab.topology.kept import kept_text

                        made = made._replace(topology=kept_text(written) if file else "")
                    elif record and not applied.changes:
                        made = made._replace(topology=record.topology)
                    kept = with_part(proposed, _desired(record, name)) if only else proposed.fabric
                    remember(made, kept, claims, store, where)
        except UndoFailed:
            raise
        except BaseException as failure:
            if begun and isinstance(failure, NetfabError) and failure.undone:
                failure.undone, found = False, None
                failure.hint = (
                    "nothing is left, neither of this apply nor of the one before, which was killed"
                )
            with suppress(StoreError):  # the first failure is the one to report
                store.commit(found, leases) if found else store.forget(name)
            raise
        host.wait_ready(proposed.fabric)
        host.announce(proposed.fabric, applied.changes)
        if shown:
            from netfab.applying.seal import seal

            seal(name, topology.origin, shown, warnings, store, where)
        return proposed, applied


@contextmanager
def _told_where(topology: Topology) -> Iterator[None]:
    """Errors that keep a program from running get the place in the file."""
    try:
        yield
    except NetfabError as error:
        for each in each_of(error):
            if isinstance(each, ContainerFailed) and each.name in topology.nodes:
                key = {MOUNT: "mounts", IDENTIFY: "user", RUN: "command"}.get(each.step, "")
                each.at = topology.nodes[each.name].at.of(key)
        raise


@contextmanager
def _undone_on_failure(applied: Applied, host: LocalHost, known: tuple[Fabric, ...]) -> Iterator[None]:
    """For what belongs to an apply but follows the engine's part: if it fails, the apply is undone."""
    try:
        yield
    except NetfabError as failure:
        engine.undo(applied.before, host, known, failure)
        failure.undone = True
        raise


def _run_commands(record: Record, changes: Iterable[Change], where: Where) -> None:
    """Run the commands of `exec:` in new nodes; most files have none. Raises NetfabError."""
    if record.commands != NO_COMMANDS:
        from netfab.nodes.by_name import run_commands

        run_commands(record, changes, where)


def _is_known(record: Record | None, made: Record) -> bool:
    """Whether the store has all of it already; the record of an apply that was killed has no objects."""
    if record is None or record.desired == made.desired or (made.file and not record.topology):
        return False
    return record._replace(desired=made.desired, topology="") == made


def _aim(proposed: Plan, host: LocalHost, last: Fabric, saved: SavedPlan | None, begun: bool) -> Fabric:
    """The desired fabric: a part of a plan leaves the rest as it is now, unless a killed apply left that.

    Raises NetfabError if it differs from the saved plan.
    """
    if proposed.nodes is None and saved is None:
        return proposed.fabric
    observed = host.observe(last.name, (proposed.fabric, last)).own
    desired = with_part(proposed, Fabric(last.name) if begun else observed)
    if saved is not None:
        from netfab.files.saved_plans import Part, refuse_moved

        refuse_moved(saved, {"": Part.of(proposed, desired, observed)})
    return desired


def _claims(proposed: Plan, leases: frozenset[Lease]) -> frozenset[Lease]:
    """The leases once the plan is applied."""
    if proposed.nodes is None:
        return proposed.claims
    from netfab.plan.part import leases_within

    return leases_within(proposed, leases)


def _desired(record: Record | None, name: str) -> Fabric:
    """What was last applied, whatever others have changed since."""
    return Fabric.from_json(record.desired, KINDS) if record else Fabric(name)


def go_back(
    record: Record, leases: frozenset[Lease], where: Where = HERE, part: Part | None = None
) -> Applied:
    """Restore the fabric, and the store's entry for it, to that record, leases and part."""
    name = record.name
    with locked_fabric(name, where), opened_store(where) as store, opened_host(name, where) as host:
        wanted = as_they_are_now(_desired(record, name), where)
        applied = engine.apply(wanted, host, (last_applied(store, name),), where.progress)
        store.commit(record, leases, part)
        publish(where.run, public_record(record, wanted), leases)
        return applied


def drift(name: str, where: Where = HERE) -> tuple[Change, ...]:
    """What others changed since the last apply, as the changes that would repair it. No file needed.

    A program that was stopped or paused by command is no drift, nor is a lent NIC that is gone: `warnings`
    reports these. A guest that ended is drift, although it can't be repaired.
    """
    from netfab.facts.nics import without_unplugged

    need_root("drift")
    with read_store(where) as store, opened_host(name, where) as host:
        if name == ADHOC and store.record(name) is None:
            return ()
        last = Fabric.from_json(whole_record(store, name, where).desired, KINDS)
        wanted = host.as_left(without_unplugged(as_they_are_now(last, where), host))
        changes = engine.changes_for(wanted, host.observe(name, (wanted, last_applied(store, name))))
        return as_applied((*changes, *ended(last, wanted)), last)


def reconcile(name: str, where: Where = HERE) -> Applied:
    """Repair what others changed since the last apply; after a reboot, restore everything.

    Also runs the commands of `exec:` in recreated nodes. A failure is undone. A program that was stopped or
    paused by command stays so, until a reboot.
    """
    from netfab.facts.nics import without_unplugged

    need_root("reconcile")
    need_kernel()
    with locked_fabric(name, where), opened_store(where) as store, opened_host(name, where) as host:
        record = _with_nics_as_they_are(whole_record(store, name, where), host, store)
        wanted = as_they_are_now(Fabric.from_json(record.desired, KINDS), where)
        wanted = without_unplugged(wanted, host)
        left, last = host.as_left(wanted), last_applied(store, name)
        applied = engine.apply(left, host, (last,), where.progress)
        with _undone_on_failure(applied, host, (left, last)):
            _run_commands(record, applied.changes, where)
        host.announce(wanted, applied.changes)
        found = record._replace(desired=wanted.to_json())  # with guests as they run now
        publish(where.run, public_record(found, wanted), store.leases(name))
        return applied


def _with_nics_as_they_are(record: Record, host: LocalHost, store: Store) -> Record:
    """The record, with the current settings of NICs that are to be moved again: they get these back later."""
    from netfab.facts.nics import as_they_came_back

    last = Fabric.from_json(record.desired, KINDS)
    now = as_they_came_back(last, host)
    if now == last:
        return record
    from netfab.plan.nics import claims

    kept = record._replace(desired=now.to_json())
    others = {lease for lease in store.leases(record.name) if lease.kind != "inside"}
    store.commit(kept, others.union(claims(now)))
    return kept


def _refuse_renamed(name: str, file: str, store: Store) -> None:
    """Refuse to make a second fabric by mistake, from a file whose `name` was changed."""
    for other in store.records():
        if other.file == file and file not in ("", "-"):  # a command's fabric, or standard input
            raise NetfabError(
                f"{file} is applied as fabric {other.name}, and is now called {name}",
                hint=f"`netfab destroy {other.name}` first;"
                f" or, for a second fabric of this file, --name {name}",
            )
