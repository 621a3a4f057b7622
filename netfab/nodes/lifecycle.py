"""The lifecycle of nodes' programs, by docker's verbs: start, stop, restart, kill, pause, unpause.

A node keeps its namespace and addresses throughout. A stopped or paused program stays so until it is
started, unpaused or applied again; drift and reconcile leave it alone. If a named one can't be
found, or is not running but must be, the others are still acted on, and NotAll lists them.
"""

from __future__ import annotations

import signal
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from netfab.errors import Interrupted, NetfabError, raise_all, raise_rest
from netfab.nodes.by_name import node_of
from netfab.runtime.paths import Paths
from netfab.runtime.status import PAUSED, Status, status_of
from netfab.store.store import Record
from netfab.tuples import NamedTuple
from netfab.where import HERE, Where, locked_fabric, need_root, opened_host

_Programs = dict[str, dict[str, Status]]  # fabric -> node -> status


class _Found(NamedTuple):
    """The statuses of programs; the words for their nodes; and errors for the others."""

    programs: _Programs
    words: dict[str, list[str]]  # by fabric
    errors: list[NetfabError]


def start(nodes: Iterable[str], where: Where = HERE) -> None:
    """Start programs that have ended; on return they are ready. Running ones are left alone.

    Raises NetfabError.
    """

    def act(fabric: str, programs: Iterable[str]) -> None:
        with locked_fabric(fabric, where):
            _start(fabric, programs, where)

    _to_each(_programs("start", nodes, where, _paused), act)


def stop(nodes: Iterable[str], where: Where = HERE, timeout: float = 10.0) -> None:
    """Stop programs: SIGTERM, and SIGKILL if they have not ended after `timeout` seconds, concurrently.

    Restart policies don't apply until they are started again. Ended ones are left alone.
    """
    from netfab.runtime import client

    def act(fabric: str, programs: Iterable[str]) -> None:
        with locked_fabric(fabric, where):
            client.stop(_paths(fabric, where), programs, timeout)

    _to_each(_programs("stop", nodes, where), act)


def restart(nodes: Iterable[str], where: Where = HERE, timeout: float = 10.0) -> None:
    """Stop programs, and start them. Raises NetfabError."""
    from netfab.runtime import client

    def act(fabric: str, programs: Iterable[str]) -> None:
        with locked_fabric(fabric, where):
            client.stop(_paths(fabric, where), programs, timeout)
            _start(fabric, programs, where)

    _to_each(_programs("restart", nodes, where), act)


def kill(nodes: Iterable[str], where: Where = HERE, number: int = signal.SIGKILL) -> None:
    """Send a signal to the first process of each; after SIGKILL they have ended on return.

    A signal that ends a program counts as a stop. Raises NetfabError.
    """
    from netfab.runtime import client

    def act(fabric: str, programs: Iterable[str]) -> None:
        client.send_signal(_paths(fabric, where), list(programs), number)

    _to_each(_programs("kill", nodes, where, _idle), act)


def pause(nodes: Iterable[str], where: Where = HERE) -> None:
    """Freeze all processes of each. Raises NetfabError."""
    _pause(_programs("pause", nodes, where, _idle), where, True)


def unpause(nodes: Iterable[str], where: Where = HERE) -> None:
    """Resume all processes of each. Raises NetfabError."""
    _pause(_programs("unpause", nodes, where, _idle), where, False)


def wait(nodes: Iterable[str], where: Where = HERE) -> Iterator[int | None]:
    """The exit code of each once it has ended for good; None if unknown."""
    from netfab.runtime.foreground import NOTHING, look_at

    names = list(nodes)
    raise_all(_programs("wait", names, where).errors)
    for record, name, _ in (node_of(node, where) for node in names):
        yield look_at(_paths(record.name, where), name, NOTHING).exit_code


def _pause(found: _Found, where: Where, paused: bool) -> None:
    from netfab.runtime import client

    def act(fabric: str, programs: Iterable[str]) -> None:
        client.pause(_paths(fabric, where), list(programs), paused)

    _to_each(found, act)


def _start(fabric: str, names: Iterable[str], where: Where) -> None:
    with opened_host(fabric, where) as host:
        host.start(list(names))


def _to_each(found: _Found, act: Callable[[str, Iterable[str]], None]) -> None:
    """Act in every fabric, even after a failure in another. Raises NetfabError; NotAll if some succeeded."""
    errors, done = list(found.errors), list[str]()
    for fabric, programs in found.programs.items():
        try:
            act(fabric, programs)
            done += found.words[fabric]
        except Interrupted:
            raise
        except NetfabError as error:
            errors.append(error)
    raise_rest(errors, done)


def _idle(name: str, program: Status) -> NetfabError | None:
    if program.pid:
        return None
    return NetfabError(f"{name} does not run: it is {program.state}", hint=f"netfab start {name}")


def _paused(name: str, program: Status) -> NetfabError | None:
    if program.state != PAUSED:
        return None
    return NetfabError(f"{name} is paused", hint=f"netfab unpause {name}")


def _programs(
    command: str,
    nodes: Iterable[str],
    where: Where,
    unfit: Callable[[str, Status], NetfabError | None] = lambda name, program: None,
) -> _Found:
    """The status of the program of each node that is not unfit. Raises NotRoot."""
    need_root(command)
    found = _Found(defaultdict(dict), defaultdict(list), [])
    for node in nodes:
        try:
            record, name, _ = node_of(node, where)
            program = _program(record, name, where)
        except NetfabError as error:
            found.errors.append(error)
            continue
        if refusal := unfit(name, program):
            found.errors.append(refusal)
        else:
            found.programs[record.name][name] = program
            found.words[record.name].append(node)
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
