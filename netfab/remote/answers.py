"""Hosts' answers, by question: parsed once, on arrival. An error for an invalid one names its host.

What is shown or printed stays plain data, once it is checked for the fields that will be used.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from netfab.diagnose.trials import Verdict
from netfab.errors import raise_all
from netfab.objects.base import Fabric
from netfab.objects.decode import decoder, decoder_by_name
from netfab.objects.kinds import KINDS
from netfab.plan.facts import Facts
from netfab.plan.leases import Lease, read_lease
from netfab.remote.messages import BadMessage, Message, understood
from netfab.tuples import NamedTuple

T = TypeVar("T")
Plain = dict[str, Any]
Changes = list[Plain]  # as `describe` returns them
_ACTIONS = ("create", "update", "delete", "replace")


class Hello(NamedTuple):
    """A host's description of itself, and what it knows of a fabric."""

    run: str  # its run directory
    generation: int  # of the last apply that it took part in; 0: none
    transaction: str  # of that apply
    undecided: str  # one that was applied there, without a commit so far
    summary: Mapping[str, Any]
    commands: Mapping[str, Any]
    leases: frozenset[Lease]
    facts: Facts
    unfound: Mapping[str, tuple[str, str]]  # guests that were not found: the error, and a hint
    networks: Mapping[str, Mapping[str, Mapping[str, Any]]]  # of each of its fabrics
    mtus: Mapping[str, int]  # of tunnels, by device


class Prepared(NamedTuple):
    """A host is ready to apply."""

    changes: Changes
    steps: Mapping[str, int]  # number of changes of each
    confirm: float  # seconds until it is rolled back unless confirmed; 0: never


class _Summary(NamedTuple):
    """A fabric's summary; empty if the fabric is not there."""

    networks: Mapping[str, Mapping[str, Any]] = {}
    nodes: Mapping[str, Mapping[str, Any]] = {}
    links: tuple[Mapping[str, Any], ...] = ()


class _Link(NamedTuple):
    endpoints: tuple[str, ...]


class _Change(NamedTuple):
    action: str
    kind: str
    name: str
    why: str
    restarts: bool


class _Node(NamedTuple):
    """The fields of a node that are shown."""

    state: str
    interfaces: tuple[Mapping[str, Any], ...]
    published: tuple[str, ...] = ()


class _Interface(NamedTuple):
    name: str
    network: str
    addresses: tuple[str, ...]
    mac: str


class _Program(NamedTuple):
    fabric: str
    node: str
    image: str
    state: str
    pid: int | None
    exit_code: int | None
    restarts: int
    oom: bool
    error: str
    published: tuple[str, ...]
    command: tuple[str, ...]


_hello = decoder_by_name(Hello)
_read_summary = decoder_by_name(_Summary)
_change = decoder_by_name(_Change)
_steps = decoder(Mapping[str, int])
_seconds = decoder(float)
number = decoder(int)
_link, _node, _interface, _program = map(decoder_by_name, (_Link, _Node, _Interface, _Program))
verdicts = decoder(tuple[Verdict, ...])
texts = decoder(tuple[str, ...])


def read_all(said: Mapping[str, Any], how: Callable[[Any], T]) -> dict[str, T]:
    """Parse each host's answer. Raises BadMessage, for all invalid ones together."""
    found: dict[str, T] = {}
    errors: list[BadMessage] = []
    for host, answer in said.items():
        try:
            with understood(host):
                found[host] = how(answer)
        except BadMessage as error:
            errors.append(error)
    raise_all(errors)
    return found


def _summary(found: Any) -> _Summary:
    made: _Summary = _read_summary(found)
    for link in made.links:
        _link(link)
    return made


def hello(answer: Message) -> Hello:
    """The answer to `hello`."""
    found: Hello = _hello(answer)
    _summary(found.summary)
    for lease in found.leases:
        read_lease(lease)
    return found


def prepared(answer: Message) -> Prepared:
    """The answer to `prepare`."""
    return Prepared(changes(answer["changes"]), _steps(answer["steps"]), _seconds(answer["confirm"]))


def changes(found: Any) -> Changes:
    """Changes."""
    made = [_change(one) for one in found]
    for one in made:
        if one.action not in _ACTIONS:
            raise ValueError(f"there is no action {one.action}")
    return [one._asdict() for one in made]


def fabric(found: Any) -> Fabric:
    """An observed fabric."""
    return Fabric.from_json(json.dumps(found), KINDS)


def status(found: Any) -> Plain:
    """A fabric's status."""
    for node in _summary(found).nodes.values():
        for interface in _node(node).interfaces:
            _interface(interface)
    number(found["differs"])
    return dict(found)


def programs(found: Any) -> list[Plain]:
    """The programs of nodes."""
    for one in found:
        _program(one)
    return list(found)
