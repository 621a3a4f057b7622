"""The programs of nodes by docker's verbs: start, stop, restart, kill, pause, unpause.

A node keeps its namespace and addresses through all of them. What is stopped or paused stays so until it is
started, unpaused or applied again; drift and reconcile leave it as it is. Nothing is done to any node where
one that is named can't be found, or does not run and must.
"""

from __future__ import annotations

import signal
from collections import defaultdict
from collections.abc import Iterable, Iterator

from netfab.errors import NetfabError, raise_all
from netfab.nodes import node_of
from netfab.runtime.paths import Paths
from netfab.runtime.status import PAUSED, Status, status_of
from netfab.store.store import Record
from netfab.where import HERE, Where, locked_fabric, need_root, opened_host

_Found = dict[str, dict[str, Status]]  # fabric -> node -> its program


def start(nodes: Iterable[str], where: Where = HERE) -> None:
    """Start programs that have ended; on return they are ready. What runs is left alone.

    Raises NetfabError.
    """
    found = _programs("start", nodes, where)
    raise_all(
        NetfabError(f"{name} is paused", hint=f"netfab unpause {name}")
        for programs in found.values()
        for name, program in programs.items()
        if program.state == PAUSED
    )
    for fabric, programs in found.items():
        with locked_fabric(fabric, where):
            _start(fabric, programs, where)


def stop(nodes: Iterable[str], where: Where = HERE, timeout: float = 10.0) -> None:
    """End programs: SIGTERM, and SIGKILL for what has not ended after `timeout` seconds, all at once.

    Restart policies don't apply until they are started again. What has ended is left alone.
    """
    from netfab.runtime import client

    for fabric, programs in _programs("stop", nodes, where).items():
        with locked_fabric(fabric, where):
            client.stop(_paths(fabric, where), programs, timeout)


def restart(nodes: Iterable[str], where: Where = HERE, timeout: float = 10.0) -> None:
    """Stop programs, and start them. Raises NetfabError."""
    from netfab.runtime import client

    for fabric, programs in _programs("restart", nodes, where).items():
        with locked_fabric(fabric, where):
            client.stop(_paths(fabric, where), programs, timeout)
            _start(fabric, programs, where)


def kill(nodes: Iterable[str], where: Where = HERE, number: int = signal.SIGKILL) -> None:
    """Send a signal to the first process of each. One that ends it is a stop. Raises NetfabError."""
    from netfab.runtime import client

    for fabric, programs in _running("kill", nodes, where).items():
        client.send_signal(_paths(fabric, where), list(programs), number)


def pause(nodes: Iterable[str], where: Where = HERE) -> None:
    """Halt all processes of each where they are. Raises NetfabError."""
    _pause(_running("pause", nodes, where), where, True)


def unpause(nodes: Iterable[str], where: Where = HERE) -> None:
    """Let all processes of each go on. Raises NetfabError."""
    _pause(_running("unpause", nodes, where), where, False)


def wait(nodes: Iterable[str], where: Where = HERE) -> Iterator[int | None]:
    """The exit code of each when it has ended and is not started again; None where nobody saw it."""
    from netfab.runtime.foreground import NOTHING, look_at

    names = list(nodes)
    _programs("wait", names, where)
    for record, name, _ in (node_of(node, where) for node in names):
        yield look_at(_paths(record.name, where), name, NOTHING).exit_code


def _pause(found: _Found, where: Where, paused: bool) -> None:
    from netfab.runtime import client

    for fabric, programs in found.items():
        client.pause(_paths(fabric, where), list(programs), paused)


def _start(fabric: str, names: Iterable[str], where: Where) -> None:
    with opened_host(fabric, where) as host:
        host.start(list(names))


def _running(command: str, nodes: Iterable[str], where: Where) -> _Found:
    """Raises NetfabError, for all that don't run."""
    found = _programs(command, nodes, where)
    raise_all(
        NetfabError(f"{name} does not run: it is {program.state}", hint=f"netfab start {name}")
        for programs in found.values()
        for name, program in programs.items()
        if not program.pid
    )
    return found


def _programs(command: str, nodes: Iterable[str], where: Where) -> _Found:
    """What is known of the program of each node. Raises NetfabError, for all that have none."""
    need_root(command)
    found: _Found = defaultdict(dict)
    errors: list[NetfabError] = []
    for node in nodes:
        try:
            record, name, _ = node_of(node, where)
            found[record.name][name] = _program(record, name, where)
        except NetfabError as error:
            errors.append(error)
    raise_all(errors)
    return found


def _program(record: Record, name: str, where: Where) -> Status:
    if program := status_of(_paths(record.name, where), name):
        return program
    from netfab.objects.base import Fabric
    from netfab.objects.container import Container

    if any(program.name == name for program in Fabric.from_json(record.desired, [Container]).values()):
        raise NetfabError(f"the program of {name} is gone", hint=f"netfab reconcile {record.name}")
    raise NetfabError(f"{name} runs no program", hint="`command:` in the topology file gives it one")


def _paths(fabric: str, where: Where) -> Paths:
    return Paths(fabric, where.run, where.state)
