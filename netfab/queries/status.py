"""The state of fabrics as plain data: `status`, `ls`, `bridges`, and plans as JSON.

Only reads.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from netfab.engine.diff import Change, describe, diff
from netfab.errors import NetfabError, StoreError
from netfab.facts.guests import as_they_are_now, ended
from netfab.objects.base import HOST, Fabric, Name
from netfab.objects.container import PAUSED, Container
from netfab.objects.firewall import Firewall
from netfab.objects.kinds import KINDS
from netfab.plan.leases import Lease
from netfab.plan.names import host_link
from netfab.plan.planner import Plan, summary
from netfab.plan.prefixes import shadowed
from netfab.runtime.paths import Paths
from netfab.topology.kept import whole_text
from netfab.topology.schema import Topology
from netfab.where import (
    HERE,
    Where,
    known_record,
    need_root,
    opened_book,
    opened_host,
    read_store,
    records_of_any,
    refuse_another,
)

if TYPE_CHECKING:
    from netfab.hosts.local import LocalHost
    from netfab.runtime.status import Status
    from netfab.store.store import Record
    from netfab.topology.schema import Etcd


def status(name: str, where: Where = HERE) -> dict[str, Any]:
    """A fabric's status, as `status -o json` prints it. Without root, as it was last applied.

    A node is ready if its namespace exists and its program, if any, runs or has completed successfully (not
    if it is stopped or paused);
    `dropped`: packets that its interface was not allowed to send.
    """
    from netfab.runtime.status import status as containers

    with read_store(where) as store, opened_host(name, where) as host:
        record = known_record(store, name, where)
        found: dict[str, Any] = {
            "version": 1,
            "fabric": name,
            "file": record.file,
            "user": record.user,
            "whole": record.whole,
        }
        found |= json.loads(record.summary)
        if os.geteuid() != 0:
            for node in found["nodes"].values():
                node |= {"state": "applied", "ready": None, "pid": None}
            found["warnings"] = list(shadowed(store.leases(name), host.facts().reservations))
            return found
        wanted = as_they_are_now(Fabric.from_json(record.desired, KINDS), where)
        present = host.observe(name, (wanted,)).own
        as_left = host.as_left(wanted)
        dropped = host.dropped()
        found["warnings"] = list(_warnings(store.leases(name), wanted, record, host))
    found["differs"] = len(describe(diff(as_left, present)))
    running = containers(Paths(name, where.run, where.state))
    for short, node in found["nodes"].items():
        namespace = namespace_of_node(name, short, node)
        program = running.get(short)
        gone = bool(node["namespace"]) and namespace not in present
        node["state"] = "missing" if gone else program.state if program else "up"
        node["ready"] = not gone and (program is None or _does_its_work(program))
        node["pid"] = (program.pid or None) if program else None
        for interface in node["interfaces"]:
            interface["dropped"] = dropped.get(host_link(name, short, interface["name"]), 0)
    return found


def described(name: str, changes: Iterable[Change], where: Where = HERE) -> list[dict[str, Any]]:
    """Changes to a fabric as it was applied, as from `describe`, with the nodes of ports."""
    with read_store(where) as store:
        record = store.record(name)
    nodes = json.loads(record.summary)["nodes"] if record else {}
    called = {
        Name(HOST, host_link(name, node, interface["name"])): f"{interface['name']} of {node}"
        for node, found in nodes.items()
        for interface in found["interfaces"]
    }
    return describe(changes, called)


def warnings(name: str, where: Where = HERE) -> tuple[str, ...]:
    """Changes of this host that impair a fabric although its own objects are unchanged."""
    from netfab.objects.borrowed import Borrowed
    from netfab.objects.passage import Passage
    from netfab.objects.uplink import Uplink

    with read_store(where) as store, opened_host(name, where) as host:
        record = store.record(name)
        kinds = (Firewall, Uplink, Container, Borrowed, Passage)
        wanted = Fabric.from_json(record.desired, kinds) if record else Fabric(name)
        return (*_warnings(store.leases(name), wanted, record, host), *_left_by_name(wanted, host))


def ended_guests(name: str, where: Where = HERE) -> tuple[str, ...]:
    """The labels of ended guests, which no repair can restore."""
    from netfab.objects.guest import Guest

    with read_store(where) as store:
        record = store.record(name)
    last = Fabric.from_json(record.desired, (Guest,)) if record else Fabric(name)
    return tuple(change.before.label for change in ended(last, as_they_are_now(last, where)))


def _warnings(
    leases: Iterable[Lease], wanted: Fabric, record: Record | None, host: LocalHost
) -> Iterator[str]:
    from netfab.facts.nics import told_unplugged
    from netfab.plan import ways_out

    facts = host.facts()
    yield from shadowed(leases, facts.reservations)
    if record is not None:
        cure = f"netfab apply {record.file}" if record.file else f"netfab reconcile {record.name}"
        yield from ways_out.unknown(wanted, json.loads(record.summary)["networks"], facts, cure)
    yield from told_unplugged(leases, wanted, host)
    yield from (error.message for error in host.foreign_drops(wanted.values()))


def _left_by_name(wanted: Fabric, host: LocalHost) -> Iterator[str]:
    """Programs that a user stopped or paused, which no repair changes."""
    for name, left in host.as_left(wanted).items():
        if left != wanted[name]:
            verb = "unpause" if left.state == PAUSED else "start"
            yield f"{left.name} is {left.state} and stays so until `netfab {verb} {wanted.name}/{left.name}`"


def topology_of(name: str, where: Where = HERE) -> str:
    """The stored text of the file that the fabric was last applied from: planning it yields no changes."""
    need_root("status -o topology")
    with read_store(where) as store:
        record = known_record(store, name, where)
    if not record.file:
        raise NetfabError(f"fabric {name} is of no file", hint=f"`netfab status {name}` shows what there is")
    if not record.topology:
        raise NetfabError(
            f"what the file of fabric {name} said is not known: it was applied in parts, or recovered",
            hint=f"`netfab config {record.file}` prints what is in it now",
        )
    return whole_text(record.topology, record.file, name)


def _does_its_work(program: Status) -> bool:
    return program.state == "running" or (program.state == "exited" and program.exit_code == 0)


def namespace_of_node(fabric: str, node: str, found: dict[str, Any]) -> Name:
    """The namespace of a node, by its summary."""
    if found["guest"]:
        return Name("namespace", f"{fabric}.{node}")
    return Name("namespace", os.path.basename(found["namespace"]))


def bridges(where: Where = HERE) -> list[dict[str, Any]]:
    """Every bridge of this host, whoever made it."""
    with opened_host("", where) as host:
        found = host.bridges()
    with read_store(where) as store:
        owners = {
            chosen["bridge"]: record.name
            for record in store.records()
            for chosen in json.loads(record.summary)["networks"].values()
        }
    return [
        {
            "bridge": name,
            "owner": owners.get(name, "-"),
            "addresses": there["addresses"],
            "ports": there["ports"],
        }
        for name, there in found.items()
    ]


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
    """The fabric that was applied from a file, or that the file names; the file may be invalid, or gone.

    `-` is standard input. "" if there is no name. Raises AppliedElsewhere if the fabric of that name
    is another file's.
    """
    from netfab.topology.load import default_name

    path = file if file == "-" else os.path.abspath(file)
    known: dict[str, Record] = {}
    with suppress(StoreError):  # a broken store must not prevent a destroy
        known = {record.name: record for record in records_of_any(where)}
    applied = {record.name for record in known.values() if record.file == path != "-"}
    applied |= {entry.name for entry in opened_book(where).entries() if entry.file == path}
    if len(applied) == 1:
        return applied.pop()
    name = _written("name", file) or default_name(file, os.path.dirname(path))
    refuse_another(known.get(name), path)
    return name


def shared_by(file: str) -> tuple[str, Etcd] | None:
    """The fabric and the shared store that a file names; the rest of the file may be invalid."""
    from netfab.topology import grammar

    with suppress(grammar.Wrong):
        name, store = _written("name", file), grammar.store(_written("store", file) or "sqlite")
        return (grammar.name(name), store) if store else None
    return None


def _written(key: str, file: str) -> str:
    """A top-level value of a file; "" if it is missing, or the file can't be read."""
    from netfab.topology import MAX_BYTES
    from netfab.topology.source import Source

    try:
        with open(0 if file == "-" else file, "rb", closefd=file != "-") as opened:
            tree = Source(opened.read(MAX_BYTES + 1), file, os.environ).tree
    except (OSError, NetfabError):
        return ""
    return str(getattr(getattr(tree, "values", {}).get(key), "text", ""))
