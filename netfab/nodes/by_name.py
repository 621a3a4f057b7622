"""Nodes and their programs, by name: find one, run a command in it, list programs, read logs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from netfab.errors import Interrupted, NetfabError
from netfab.hosts.interrupt import deferred
from netfab.runtime.paths import Paths
from netfab.store.store import Record
from netfab.topology.suggest import nearest
from netfab.tuples import NamedTuple
from netfab.where import HERE, Where, need_root, read_store, records, records_of_any

if TYPE_CHECKING:
    from netfab.engine.diff import Change
    from netfab.kernel.capture import Frame

THE_HOST: Mapping[str, Any] = {"guest": "", "namespace": ""}  # in place of a node's summary
_GLANCE = 0.2  # seconds until a signal is noticed


def node_of(node: str, where: Where = HERE) -> tuple[Record, str, dict[str, Any]]:
    """The fabric, name and summary of `node` or `fabric/node`.

    Raises NetfabError if there is none, or several.
    """
    fabric_name, _, name = node.rpartition("/")
    found = []
    for record in records_of_any(where):  # even on a full disk: whatever fills it must be stoppable
        if fabric_name in ("", record.name) and name in (nodes := json.loads(record.summary)["nodes"]):
            found.append((record, name, nodes[name]))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(f"{record.name}/{name}" for record, _, _ in found)
        raise NetfabError(f"{name} is a node of several fabrics: {names}", hint="name one of these")
    raise _no_such_node(node, where)


def node_or_guest_of(node: str, where: Where = HERE) -> tuple[Record, str, dict[str, Any]]:
    """As node_of; a guest of `attach` also by its short name. Raises NetfabError."""
    try:
        return node_of(node, where)
    except NoSuchNode:
        labels = _guests_called(node, where)
        if not labels:
            raise
    return node_of(_only(labels, node), where)


def guest_of(node: str, where: Where = HERE) -> str:
    """The label of the guest of `attach` that is meant; "" if there is none, or a node has that name."""
    from netfab.topology.adhoc import NAME

    try:
        record, name, _ = node_of(node, where)
    except NoSuchNode:
        labels = _guests_called(node, where)
        return _only(labels, node) if labels else ""
    except NetfabError:  # several nodes have it
        return ""
    return name if record.name == NAME else ""


def _only(labels: list[str], node: str) -> str:
    if len(labels) > 1:
        raise NetfabError(f"{node} is the name of several guests: {', '.join(labels)}", hint="name one")
    return labels[0]


def _guests_called(node: str, where: Where) -> list[str]:
    """The labels of guests of `attach` with that short name."""
    from netfab.facts.shared_bridges import asked
    from netfab.topology.adhoc import NAME

    fabric, _, title = node.rpartition("/")
    with read_store(where) as store:
        attachments = asked(store).attachments.values() if fabric in ("", NAME) else ()
    return sorted({one.guest for one in attachments if one.title == title})


class NoSuchNode(NetfabError):
    """No fabric has a node of that name."""


def _no_such_node(node: str, where: Where) -> NoSuchNode:
    """The error, suggesting the node that was probably meant, of any fabric or of the named one."""
    if _guests_called(node, where):
        hint = f"{node} is a guest of `netfab attach`: `exec`, `shell`, `capture` and `why` work on it, too"
        return NoSuchNode(f"there is no node {node}", hint=hint)
    fabric, _, name = node.rpartition("/")
    known = {
        one: f"{fabric}/{one}" if fabric else one
        for record in records(where)
        if fabric in ("", record.name)
        for one in json.loads(record.summary)["nodes"]
    }
    near = known.get(nearest(name, known), "")
    meant = f"did you mean `{near}`?" if near else "`netfab status` lists what there is"
    return NoSuchNode(f"there is no node {node}", hint=meant if known else "`netfab ls` lists the fabrics")


def execute(
    node: str,
    argv: tuple[str, ...],
    where: Where = HERE,
    *,
    privileged: bool = False,
    user: str | None = None,
    workdir: str | None = None,
    env: tuple[tuple[str, str], ...] = (),
    terminal: bool = False,
    detached: bool = False,
) -> int:
    """Run a command in a node; returns its exit status. `detached`: returns 0 as soon as it runs.

    In a node without a program it has all rights of the caller. Raises ContainerFailed if it can't be run.
    """
    from netfab.runtime import exec as runtime
    from netfab.runtime.status import status_of

    need_root("exec")
    record, name, found = node_or_guest_of(node, where)
    paths = Paths(record.name, where.run, where.state)
    if status_of(paths, name) is not None:
        return runtime.run_in_container(
            paths, name, argv, privileged=privileged, user=user, workdir=workdir, env=env,
            terminal=terminal, detached=detached,
        )  # fmt: skip
    if not found["namespace"]:
        raise NetfabError(f"{name} is in the host's namespace, and its program does not run")
    if user is not None:
        raise NetfabError(f"{name} has no program, and so no users", hint="run `su` or `setpriv` in it")
    return _in_namespace(record.name, name, found, argv, where, workdir, dict(env), terminal, detached)


def run_commands(record: Record, changes: Iterable[Change], where: Where) -> None:
    """Run the `exec:` commands of nodes without a program whose namespace is new. Raises NetfabError."""
    commands = json.loads(record.commands)
    if not commands:
        return
    new = {change.object.names[0].text for change in changes if change.before is None}
    nodes = json.loads(record.summary)["nodes"]
    for name, several in commands.items():
        if f"{record.name}.{name}" in new:
            for argv in several:
                if code := _in_namespace(record.name, name, nodes[name], argv, where):
                    raise NetfabError(f"{name}: exec: {' '.join(argv)}: exit status {code}")


def _in_namespace(
    fabric: str,
    name: str,
    found: dict[str, Any],
    argv: tuple[str, ...],
    where: Where,
    workdir: str | None = None,
    env: Mapping[str, str] = {},
    terminal: bool = False,
    detached: bool = False,
) -> int:
    """Run a command in the namespace of a node that has no program."""
    from netfab.runtime.exec import run_in_namespace

    netns = opened_namespace(fabric, name, found, where)
    try:
        return run_in_namespace(
            netns,
            argv,
            hostname=found["hostname"],
            hosts_file=found["hosts"],
            resolv_conf=found["resolv"],
            workdir=workdir,
            env={**os.environ, **env},
            terminal=terminal,
            detached=detached,
        )
    finally:
        os.close(netns)


def opened_namespace(fabric: str, name: str, found: Mapping[str, Any], where: Where = HERE) -> int:
    """A descriptor of a node's network namespace, by its summary. Raises NetfabError."""
    try:
        if found["guest"]:
            from netfab.facts.guests import namespace_of_guest

            return namespace_of_guest(found["guest"], where)
        if not found["namespace"]:  # it is in the host's
            return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        from netfab.kernel.netns import Namespaces

        return Namespaces.open_bound(os.path.basename(found["namespace"]))
    except OSError as error:
        raise NetfabError(
            f"the namespace of {name} is gone: {error.strerror}", hint=f"netfab reconcile {fabric}"
        ) from error


class Heard(NamedTuple):
    """Captured frames, and the number lost so far for lack of buffer space."""

    frames: list[Frame]
    lost: int


def capture(node: str, interface: str, filter: str, where: Where = HERE) -> Iterator[Heard]:
    """Capture frames of a node's interface, or, without one, of all, as they come, until a signal.

    node: may be `host`. The first item is empty: no frame after it is missed. Raises NetfabError.
    """
    from netfab.kernel.capture import Capture

    need_root("capture")
    fabric, name, found = ("", node, THE_HOST) if node == "host" else _named(node, where)
    netns = opened_namespace(fabric, name, found, where)
    try:
        capture = Capture(netns, interface, filter)
    finally:
        os.close(netns)
    with capture, deferred() as interrupts:
        yield Heard([], 0)
        with suppress(Interrupted):
            while True:
                capture.wait(_GLANCE)
                interrupts.check()
                if frames := list(capture.frames()):
                    yield Heard(frames, capture.lost)
        yield Heard(list(capture.frames()), capture.lost)


def _named(node: str, where: Where) -> tuple[str, str, Mapping[str, Any]]:
    record, name, found = node_or_guest_of(node, where)
    return record.name, name, found


def programs(where: Where = HERE) -> list[dict[str, Any]]:
    """Every node's program on this host, as `ps -o json` prints it."""
    from netfab.runtime.status import status as containers

    need_root("ps")
    return [
        {
            "fabric": record.name,
            "node": name,
            "image": one.spec.image,
            "state": one.state,
            "pid": one.pid or None,
            "exit_code": one.exit_code,
            "restarts": one.restarts,
            "oom": one.oom,
            "error": one.error,
            "published": nodes[name]["published"] if name in nodes else [],
            "command": list(one.spec.argv),
        }
        for record in records_of_any(where)
        for nodes in [json.loads(record.summary)["nodes"]]
        for name, one in containers(Paths(record.name, where.run, where.state)).items()
    ]


def logs(
    nodes: Iterable[str], where: Where = HERE, lines: int | None = None, follow: bool = False
) -> Iterator[tuple[str, bytes]]:
    """(node, line) of these nodes' output; with `follow`, until all of them have ended.

    Nodes of several fabrics are named FABRIC/NODE.
    """
    from netfab.runtime import logs as runtime

    need_root("logs")
    found = [node_of(node, where) for node in nodes]
    several = len({record.name for record, _, _ in found}) > 1
    called = {
        (Paths(record.name, where.run, where.state), name): f"{record.name}/{name}" if several else name
        for record, name, _ in found
    }
    if follow:
        by_name = {(paths.fabric, name): word for (paths, name), word in called.items()}
        yield from ((by_name[line[:2]], line.text) for line in runtime.follow(called, lines))
        return
    for (paths, name), word in called.items():
        yield from ((word, line) for line in runtime.tail(paths, name, lines))
