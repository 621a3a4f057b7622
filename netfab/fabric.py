"""The public API: load, plan, apply, destroy, status and their kin, as short functions that join the rooms.

Every function takes a `Where`; nothing is global, so that a sandbox, a test and this machine are the same to
it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from netfab.engine import apply as engine
from netfab.engine.apply import Applied, Observed, Progress
from netfab.engine.diff import Change, describe
from netfab.errors import LeaseConflict, NetfabError, NotRoot, StoreError, raise_all
from netfab.hosts.interrupt import deferred
from netfab.hosts.local import LocalHost
from netfab.hosts.lock import locked
from netfab.hosts.ports import refuse_busy
from netfab.kernel.execute import Hook, no_hook
from netfab.kernel.netns import Namespaces
from netfab.objects.base import HOST, Fabric, Name
from netfab.objects.borrowed import Borrowed
from netfab.objects.kinds import ASKED, KINDS
from netfab.plan.facts import Facts
from netfab.plan.planner import Plan, summary
from netfab.plan.planner import plan as plan_topology
from netfab.plan.prefixes import reasons
from netfab.plan.protection import lease_of
from netfab.plan.renames import renamed
from netfab.plan.subnets import Reservation
from netfab.runtime.paths import Paths
from netfab.store.public import PublicView, publish, withdraw
from netfab.store.store import Record, Store
from netfab.topology.schema import FileWish, Topology

ATTEMPTS = 20  # at planning, when other processes claim what was planned


def _quiet(_: str) -> None:
    pass


class Where(NamedTuple):
    """Where netfab keeps what it knows, and how long and loudly it waits."""

    state: str = "/var/lib/netfab"
    run: str = "/run/netfab"
    lock_timeout: float = 60.0  # seconds
    waiting: Callable[[str], None] = _quiet  # told who holds a lock that we wait for
    progress: Progress = lambda done, total, what: None
    hook: Hook = no_hook  # before each step; the tests' only way in


HERE = Where()


class Proposal(NamedTuple):
    """What apply would do. `live` is False when it was compared with what was last applied, not with the
    kernel.
    """

    topology: Topology
    plan: Plan
    changes: tuple[Change, ...]
    live: bool
    reasons: tuple[str, ...] = ()


def load(file: str, name: str | None = None) -> Topology:
    """Read and check a topology file, `-` for standard input. Raises TopologyError, or Several of them."""
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
    with _store(where) as store, _host(topology.name, where) as host:
        leases, facts = store.leases(topology.name), _facts(host, store, topology.name)
        proposed = plan_topology(topology, leases, facts, where.run)
        chosen = json.dumps(summary(topology, proposed))
        proposed = _with_renames(proposed, store.record(topology.name), chosen)
        last = _last(store, topology.name, KINDS)
        live = os.geteuid() == 0
        observed = host.observe(topology.name, (proposed.fabric, last)) if live else Observed(last, {})
        wanted = proposed.fabric if live else proposed.fabric.public()
        changes = engine.changes_for(wanted, observed)
        told = (
            reasons(topology, proposed.layout.prefixes, facts, (lease.key for lease in leases)) if why else ()
        )
        return Proposal(topology, proposed, changes, live, tuple(told))


def apply(
    topology: Topology, file: str, where: Where = HERE, take_over: bool = False
) -> tuple[Plan, Applied]:
    """Make the kernel match the topology, and read it back.

    Raises NetfabError when nothing was changed; ApplyFailed when it was undone, or says what could not be.
    """
    _need_root("apply")
    name = topology.name
    with _locked(name, where), _store(where) as store, _host(name, where) as host:
        record, leases = store.record(name), store.leases(name)
        _refuse_another(record, file, take_over)
        last = _last(store, name)
        try:
            proposed = _claim(topology, host, store, where)
            if proposed.published:
                refuse_busy(wish for wish in proposed.published if lease_of(wish) not in leases)
            chosen = json.dumps(summary(topology, proposed))
            proposed = _with_renames(proposed, record, chosen)
            applied = engine.apply(proposed.fabric, host, (last,), where.progress)
            known = record is not None and record[1:3] == (file, os.getuid()) and record.summary == chosen
            if applied.changes or not known or proposed.wants != leases:
                try:
                    _remember(Record(name, file, os.getuid(), "", chosen), proposed, store, where)
                except StoreError as failure:
                    engine.undo(applied.before, host, (proposed.fabric, last), failure)
                    raise
        except BaseException:
            with suppress(StoreError):  # what failed first is what the user has to know
                store.commit(record, leases) if record else store.forget(name)
            raise
        host.wait_ready(proposed.fabric)
        return proposed, applied


def _remember(record: Record, proposed: Plan, store: Store, where: Where) -> None:
    """Keep what was applied, and tell everybody what everybody may know of it."""
    store.commit(record._replace(desired=proposed.fabric.to_json()), proposed.wants)
    publish(where.run, record._replace(desired=proposed.fabric.public().to_json()), proposed.wants)


def destroy(name: str, where: Where = HERE) -> Applied:
    """Leave nothing of the fabric behind: the empty set, applied. What isn't there is fine.

    A store that is full, read-only or broken hinders nothing; StoreError then says that it still has the
    fabric.
    """
    _need_root("destroy")
    with _locked(name, where), _host(name, where) as host:
        known = (_last_of_any(name, where),)
        applied = engine.apply(
            Fabric(name), host, known, where.progress, back=lambda: _last_of_any(name, where, KINDS)
        )
        withdraw(where.run, name)
        try:
            with _store(where) as store:
                store.forget(name)
        except StoreError as error:
            told = f"fabric {name} is gone from this host, but not from the store: {error.message}"
            raise StoreError(
                told, hint=error.hint or "`netfab destroy` again when it can be written to"
            ) from error
        return applied


def drift(name: str, where: Where = HERE) -> tuple[Change, ...]:
    """What others changed since the last apply: how to make it as it was. No file needed."""
    _need_root("drift")
    with _store(where) as store, _host(name, where) as host:
        wanted = Fabric.from_json(_known(store, name).desired, KINDS)
        return engine.changes_for(wanted, host.observe(name, (wanted, _last(store, name))))


def reconcile(name: str, where: Where = HERE) -> Applied:
    """Repair what others changed since the last apply; after a reboot, all of it."""
    _need_root("reconcile")
    with _locked(name, where), _store(where) as store, _host(name, where) as host:
        record = _known(store, name)
        last = _last(store, name)
        applied = engine.apply(Fabric.from_json(record.desired, KINDS), host, (last,), where.progress)
        public = record._replace(desired=Fabric.from_json(record.desired, KINDS).public().to_json())
        publish(where.run, public, store.leases(name))
        return applied


def records(where: Where = HERE) -> list[Record]:
    """Every fabric that was applied on this host."""
    with _store(where) as store:
        return store.records()


def status(name: str, where: Where = HERE) -> dict[str, Any]:
    """What there is of a fabric, as `status -o json` prints it. Without root, as it was last applied."""
    from netfab.runtime.status import status as containers

    with _store(where) as store, _host(name, where) as host:
        record = _known(store, name)
        found: dict[str, Any] = {
            "version": 1,
            "fabric": record.name,
            "file": record.file,
            "user": record.user,
        }
        found |= json.loads(record.summary)
        present = set(host.observe(name).own) if os.geteuid() == 0 else None
    running = containers(Paths(name, where.run, where.state)) if os.geteuid() == 0 else {}
    for short, node in found["nodes"].items():
        namespace = Name("namespace", os.path.basename(node["namespace"]))
        gone = present is not None and node["namespace"] and namespace not in present
        program = running.get(short)
        node["state"] = (
            "missing" if gone else program.state if program else "up" if present is not None else "applied"
        )
        node["pid"] = program.pid or None if program else None
    return found


def node_of(node: str, where: Where = HERE) -> tuple[Record, str, dict[str, Any]]:
    """The fabric, name and summary of `node` or `fabric/node`. Raises NetfabError when there is none, or
    several.
    """
    fabric_name, _, name = node.rpartition("/")
    found = []
    with _store(where) as store:
        for record in store.records():
            if fabric_name in ("", record.name) and name in (nodes := json.loads(record.summary)["nodes"]):
                found.append((record, name, nodes[name]))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(f"{record.name}/{name}" for record, _, _ in found)
        raise NetfabError(f"{name} is a node of several fabrics: {names}", hint="name one of these")
    raise NetfabError(f"there is no node {node}", hint="`netfab status` lists what there is")


def execute(
    node: str,
    argv: tuple[str, ...],
    where: Where = HERE,
    *,
    privileged: bool = False,
    user: str | None = None,
    env: tuple[tuple[str, str], ...] = (),
    terminal: bool = False,
) -> int:
    """Run a command in a node; its exit status. In a node without a program, with all rights of the caller."""
    from netfab.runtime import exec as runtime
    from netfab.runtime.status import status_of

    _need_root("exec")
    record, name, found = node_of(node, where)
    paths = Paths(record.name, where.run, where.state)
    if status_of(paths, name) is not None:
        return runtime.run_in_container(
            paths, name, argv, privileged=privileged, user=user, env=env, terminal=terminal
        )
    if not found["namespace"]:
        raise NetfabError(f"{name} is in the host's namespace, and its program does not run")
    netns = Namespaces.open(os.path.basename(found["namespace"]))
    try:
        return runtime.run_in_namespace(
            netns,
            argv,
            hostname=found["hostname"],
            hosts_file=found["hosts"],
            resolv_conf=found["resolv"],
            env={**os.environ, **dict(env)},
            terminal=terminal,
        )
    finally:
        os.close(netns)


def programs(where: Where = HERE) -> list[dict[str, Any]]:
    """Every node's program on this host, as `ps -o json` prints it."""
    from netfab.runtime.status import status as containers

    return [
        {
            "fabric": record.name,
            "node": name,
            "state": one.state,
            "pid": one.pid or None,
            "exit_code": one.exit_code,
            "restarts": one.restarts,
            "oom": one.oom,
            "error": one.error,
            "command": list(one.spec.argv),
        }
        for record in records(where)
        for name, one in containers(Paths(record.name, where.run, where.state)).items()
    ]


def logs(
    nodes: Iterable[str], where: Where = HERE, lines: int | None = None, follow: bool = False
) -> Iterator[tuple[str, bytes]]:
    """(node, line) of what nodes of one fabric wrote; with `follow` until all of them have ended."""
    from netfab.runtime import logs as runtime

    _need_root("logs")
    found = [node_of(node, where) for node in nodes]
    for fabric in dict.fromkeys(record.name for record, _, _ in found):
        names = [name for record, name, _ in found if record.name == fabric]
        paths = Paths(fabric, where.run, where.state)
        if follow:
            yield from ((line.name, line.text) for line in runtime.follow(paths, names, lines))
        else:
            yield from ((name, line) for name in names for line in runtime.tail(paths, name, lines))


def inspect(what: str, where: Where = HERE) -> dict[str, Any]:
    """Whatever has that name: a fabric, FABRIC/NODE, a node, a network, an interface of the host."""
    with _store(where) as store:
        known = store.records()
    fabric_name, _, short = what.rpartition("/")
    for record in known:
        found = json.loads(record.summary)
        if what == record.name:
            return {"fabric": record.name, "file": record.file, **found}
        if fabric_name not in ("", record.name):
            continue
        for kind in ("nodes", "networks"):
            if short in found[kind]:
                return {"fabric": record.name, "kind": kind[:-1], "name": short, **found[kind][short]}
        for thing in Fabric.from_json(record.desired, KINDS).values():
            if Name(HOST, short) in thing.names:
                return {
                    "fabric": record.name,
                    "kind": type(thing).__name__.lower(),
                    "name": short,
                    "is": str(thing),
                }
    raise NetfabError(
        f"there is nothing called {what}", hint="`netfab ls` and `netfab status` list what there is"
    )


def bridges(where: Where = HERE) -> list[dict[str, Any]]:
    """Every bridge of this host, whoever made it."""
    with _host("", where) as host:
        found = host.bridges()
    with _store(where) as store:
        owners = {
            chosen["bridge"]: record.name
            for record in store.records()
            for chosen in json.loads(record.summary)["networks"].values()
        }
    return [{"bridge": name, "owner": owners.get(name, "-"), **rest} for name, rest in found.items()]


def plan_data(
    topology: Topology, proposed: Plan, changes: tuple[Change, ...], why: tuple[str, ...] = ()
) -> dict[str, Any]:
    """A plan as `plan -o json` prints it."""
    return {
        "version": 1,
        "fabric": topology.name,
        **summary(topology, proposed),
        "changes": describe(changes),
        "reasons": list(why),
        "warnings": list(proposed.warnings),
    }


def name_of(file: str, where: Where = HERE) -> str:
    """The fabric that was applied from a file, or that the file says it is; the file may be wrong, or gone."""
    from netfab.topology.load import default_name
    from netfab.topology.source import Source

    path = os.path.abspath(file)
    applied = [record.name for record in records(where) if record.file == path]
    if len(applied) == 1:
        return applied[0]
    try:
        with open(path, "rb") as opened:
            tree = Source(opened.read(), file, os.environ).tree
    except (OSError, NetfabError):
        tree = None
    written = getattr(getattr(tree, "values", {}).get("name"), "text", "")
    return written or default_name(file, os.path.dirname(path))


def recover(where: Where = HERE) -> list[str]:
    """Rebuild a store that is lost or broken: leases from what is published, the objects from what the kernel
    shows.
    """
    _need_root("recover")
    from netfab.store.sqlite import SqliteStore, set_aside

    lines = []
    try:
        SqliteStore(where.state).close()
    except StoreError as error:
        lines.append(f"{error}; kept as {set_aside(where.state)}")
    view = PublicView(where.run)
    with _store(where) as store:
        for record in view.records():
            if store.record(record.name) is None:
                published = Fabric.from_json(record.desired, KINDS)
                with _host(record.name, where) as host:
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
            topology, store.leases(topology.name), _facts(host, store, topology.name), where.run
        )
        try:
            store.claim(topology.name, proposed.wants)
        except LeaseConflict:
            if attempt == ATTEMPTS - 1:
                raise
        else:
            return proposed
    raise AssertionError("unreachable")


def _facts(host: LocalHost, store: Store, name: str) -> Facts:
    facts = host.facts()
    held = tuple(Reservation(h.prefix, f"network {h.network} of fabric {h.fabric}") for h in store.held(name))
    own = {lease.key: lease.value for lease in store.leases(name) if lease.kind == "borrowed"}
    originals = {**facts.sysctls, **store.borrowed(name), **own}
    published = store.published(name)
    return facts._replace(reservations=held + facts.reservations, sysctls=originals, published=published)


def _last(store: Store, name: str, kinds: Iterable[type[Any]] = ASKED) -> Fabric:
    """What is of these kinds in the fabric as it was last applied; empty when it never was.

    What an apply that was killed had claimed to borrow counts, too; what others still borrow does not, so
    that the last to go puts it back.
    """
    record = store.record(name)
    last = Fabric.from_json(record.desired, kinds) if record else Fabric(name)
    claimed = (
        Borrowed(lease.key, "", lease.value) for lease in store.leases(name) if lease.kind == "borrowed"
    )
    known = {thing.names[0]: thing for thing in claimed} | last
    others = store.borrowed(name)
    return Fabric(name, (thing for thing in known.values() if getattr(thing, "key", None) not in others))


def _last_of_any(name: str, where: Where, kinds: Iterable[type[Any]] = ASKED) -> Fabric:
    """As the store has it; when that can't be read, as it was published."""
    try:
        with _store(where) as store:
            return _last(store, name, kinds)
    except StoreError:
        published: Any = PublicView(where.run)
        return _last(published, name, kinds)


def _known(store: Store, name: str) -> Record:
    record = store.record(name)
    if record is None:
        names = ", ".join(record.name for record in store.records()) or "none"
        raise NetfabError(
            f"there is no fabric {name} on this host", hint=f"`netfab ls` lists what there is: {names}"
        )
    return record


def _refuse_another(record: Record | None, file: str, take_over: bool) -> None:
    """A second checkout of a file must not eat the first one's fabric."""
    if record is not None and record.file != file and not take_over:
        raise NetfabError(
            f"fabric {record.name} was applied from {record.file}, not from {file}",
            hint="--name NAME makes a second fabric of this file; --take-over means that this file replaces the other",
        )


def _need_root(command: str) -> None:
    if os.geteuid() != 0:
        raise NotRoot("needs root", hint=f"sudo netfab {command} …, or `netfab lab`, which needs none")


@contextmanager
def _store(where: Where) -> Iterator[Store]:
    if os.geteuid() == 0:
        from netfab.store.sqlite import SqliteStore

        store: Any = SqliteStore(where.state)
    else:
        store = PublicView(where.run)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _host(name: str, where: Where) -> Iterator[LocalHost]:
    with deferred() as interrupts, LocalHost(name, where.run, where.hook, where.state) as host:
        host.interrupts = interrupts
        yield host


@contextmanager
def _locked(name: str, where: Where) -> Iterator[None]:
    with locked(f"{where.run}/{name}.lock", where.lock_timeout, where.waiting):
        yield
