"""The API for fabrics that are on other hosts, or on several: what fabric.py is for one host.

Every function speaks with all hosts of the fabric. Which these are, the topology says, or, by a fabric's
name, the controller's book. What a host does is agent.py's business, how all agree is coordinator.py's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from netfab import shared
from netfab.errors import NetfabError, Unsupported, raise_all
from netfab.objects.container import Container
from netfab.objects.decode import decoder, plain
from netfab.plan.facts import Asked, Facts, asked_by
from netfab.plan.planner import Plan
from netfab.plan.planner import plan as plan_for_one
from netfab.remote.coordinator import transact
from netfab.remote.messages import PROTOCOL, Message, StaleBase
from netfab.remote.orders import Planned, entry_for, last_of, leases_of, orders_for, summary_of
from netfab.remote.party import Connect, Party, answers, connect, party, unreachable
from netfab.remote.reach import refuse_narrow
from netfab.runtime.paths import RUN_DIRECTORY
from netfab.store.book import Book, Entry
from netfab.topology.schema import Topology
from netfab.visits import refuse_unfound
from netfab.where import HERE, Where, opened_book

ATTEMPTS = 5  # at an apply, when other controllers are first
_facts = decoder(Facts)
Changes = list[dict[str, Any]]  # as `describe` has them, each with its `host`


class Outcome(NamedTuple):
    """What was planned, and what it changes."""

    summary: Mapping[str, Any]
    changes: Changes
    warnings: tuple[str, ...]
    plans: Mapping[str, Plan]


def hosts_of(topology: Topology, destination: str = "") -> dict[str, str]:
    """The hosts that a topology is for, and how each is reached; none: it is for this machine alone.

    `destination`: where all of it goes. Raises NetfabError where the file says otherwise.
    """
    found = {host.name: host.ssh for host in topology.hosts.values()}
    if destination and found:
        raise NetfabError(
            f"--ssh {destination}: this file says itself which hosts it is for: {', '.join(found)}"
        )
    return {destination: destination} if destination else found


def known(name: str, where: Where = HERE) -> Entry | None:
    """What this controller knows of a fabric on other hosts."""
    return opened_book(where).entry(name)


def apply(
    topology: Topology,
    hosts: Mapping[str, str],
    file: str,
    where: Where = HERE,
    *,
    take_over: bool = False,
    skip_unreachable: bool = False,
    way: Connect = connect,
) -> Outcome:
    """Make all hosts match the topology, or change none.

    Hosts that the fabric is on and that the file no longer has are cleared. `skip_unreachable`: hosts that
    can't be reached stay as they are, until a later apply. Raises NetfabError.
    """
    entry = known(topology.name, where)
    cleared = {host: ssh for host, ssh in (entry.hosts if entry else {}).items() if host not in hosts}
    with party({**hosts, **cleared}, where, way) as together:
        for attempt in range(ATTEMPTS):
            planned = _plan(topology, together, hosts, entry, skip_unreachable)
            begun = entry_for(topology, file, {**hosts, **cleared}, planned, entry)
            orders = dict(orders_for(topology, planned, begun, take_over, cleared))
            try:
                with _in_the_book(begun, entry, where) as book:
                    left = cleared.keys() & planned.said
                    hosts_then = {host: ssh for host, ssh in begun.hosts.items() if host not in left}
                    decided = partial(book.keep, begun._replace(hosts=hosts_then))
                    check = partial(refuse_narrow, together, topology, planned.plans)
                    changes = transact(together, orders, where, check, decided)
            except StaleBase:
                if attempt == ATTEMPTS - 1:
                    raise
            else:
                probed = [host for host, made in planned.plans.items() if _has_probes(made)]
                together.ask_all({host: {"verb": "ready", "fabric": topology.name} for host in probed})
                return _outcome(topology, planned, changes)
    raise AssertionError("unreachable")


def _has_probes(made: Plan) -> bool:
    """Whether anything has to become ready."""
    return any(isinstance(thing, Container) and thing.ready for thing in made.fabric.values())


@contextmanager
def _in_the_book(begun: Entry, entry: Entry | None, where: Where) -> Iterator[Book]:
    """The book, which has all hosts before one of them is changed: so `destroy` finds them, come what may."""
    book = opened_book(where)
    if entry is None or begun.hosts != entry.hosts:
        book.keep(begun._replace(generation=begun.generation - 1, transaction=""))
    try:
        yield book
    except NetfabError as failure:
        if failure.undone:
            book.keep(entry) if entry else book.forget(begun.name)
        raise


def plan(
    topology: Topology,
    hosts: Mapping[str, str],
    where: Where = HERE,
    *,
    skip_unreachable: bool = False,
    way: Connect = connect,
) -> Outcome:
    """What apply would change, on each host. Changes nothing."""
    entry = known(topology.name, where)
    with party(hosts, where, way) as together:
        planned = _plan(topology, together, hosts, entry, skip_unreachable)
        questions = {
            host: {"verb": "compare", "fabric": json.loads(made.fabric.to_json())}
            for host, made in planned.plans.items()
        }
        said = together.ask_all(questions)
        return _outcome(topology, planned, {host: answer["changes"] for host, answer in said.items()})


def _plan(
    topology: Topology,
    together: Party,
    hosts: Mapping[str, str],
    entry: Entry | None,
    skip_unreachable: bool,
) -> Planned:
    """Ask every host who it is, and plan for those that answer. Raises NetfabError."""
    said = _greeted(together, topology.name, asked_by(topology, topology.nodes), skip_unreachable)
    out = tuple(f"{host} was left out: it is not reached" for host in hosts if host not in said)
    _tell_what_was_decided(together, topology.name, said)
    facts = {host: _facts(said[host]["facts"]) for host in hosts if host in said}
    for host in facts if len(hosts) == 1 else ():
        errors = {word: NetfabError(*told[:1]) for word, told in said[host]["unfound"].items()}
        refuse_unfound(topology, errors)
        topology = shared.joined(topology, said[host]["networks"])
    leases, run = leases_of(said, entry), next(iter(said.values()), {}).get("run", RUN_DIRECTORY)
    if topology.hosts:
        plans = _planner()(topology, leases, facts, run)
    else:
        plans = {host: plan_for_one(topology, leases, known, run) for host, known in facts.items()}
    return Planned(plans, said, out)


def _planner() -> Any:
    """plan_hosts."""
    try:
        from netfab.plan.placement import plan_hosts  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise Unsupported("`hosts` is not supported yet") from None
    return plan_hosts


def _greeted(together: Party, name: str, asked: Asked, skip_unreachable: bool) -> dict[str, Message]:
    """What every host says of itself; of those that are not reached nothing, or it is an error."""
    hello = {"verb": "hello", "fabric": name, "asked": plain(asked)}
    said = together.ask({host: hello for host in together.channels})
    away = unreachable(said)
    if skip_unreachable and len(away) < len(said):
        together.leave_out(away)
        said = {host: answer for host, answer in said.items() if host not in away}
    found = answers(said)
    raise_all(
        NetfabError(f"{host} speaks version {answer.get('protocol')} of the protocol, and we {PROTOCOL}")
        for host, answer in found.items()
        if answer.get("protocol") != PROTOCOL
    )
    return found


def _tell_what_was_decided(together: Party, name: str, said: Mapping[str, Message]) -> None:
    """A host that applied something and did not hear that it was committed, while another did, is told."""
    decided = {answer["transaction"] for answer in said.values()} - {""}
    late = {host: answer for host, answer in said.items() if answer["undecided"] in decided}
    commit = {"verb": "commit", "fabric": name}
    together.ask_all({host: {**commit, "transaction": late[host]["undecided"]} for host in late})
    for answer in late.values():
        answer["generation"] = last_of(said)["generation"]


def _outcome(
    topology: Topology, planned: Planned, changes: Mapping[str, Iterable[Mapping[str, Any]]]
) -> Outcome:
    told = (warning for made in planned.plans.values() for warning in made.warnings)
    return Outcome(
        summary_of(topology, planned),
        _with_hosts(changes),
        (*planned.warnings, *dict.fromkeys(told)),
        planned.plans,
    )


@contextmanager
def _those_of(
    entry: Entry, where: Where, way: Connect, skip_unreachable: bool = False
) -> Iterator[tuple[Party, dict[str, Message]]]:
    """All hosts of a fabric, who have heard what was decided last."""
    with party(entry.hosts, where, way) as together:
        said = _greeted(together, entry.name, Asked(), skip_unreachable)
        _tell_what_was_decided(together, entry.name, said)
        yield together, said


def _on_each(
    function: str, entry: Entry, where: Where, way: Connect, skip_unreachable: bool = False, **arguments: Any
) -> dict[str, Any]:
    with _those_of(entry, where, way, skip_unreachable) as (together, _):
        return together.call(function, {"fabric": entry.name, **arguments})


def drift(entry: Entry, where: Where = HERE, *, way: Connect = connect) -> Changes:
    """What others changed on any host since the last apply."""
    return _with_hosts(_on_each("drift", entry, where, way))


def reconcile(entry: Entry, where: Where = HERE, *, way: Connect = connect) -> Changes:
    """Repair what others changed; each host by itself, from what it has in its own store."""
    return _with_hosts(_on_each("reconcile", entry, where, way))


def _with_hosts(found: Mapping[str, Iterable[Mapping[str, Any]]]) -> Changes:
    return [{**one, "host": host} for host, several in found.items() for one in several]


def destroy(
    entry: Entry,
    where: Where = HERE,
    *,
    force: bool = False,
    skip_unreachable: bool = False,
    way: Connect = connect,
) -> Changes:
    """Leave nothing of the fabric on any host. The book keeps hosts that were not reached.

    Nothing is changed where one is not reached, and that is not to be skipped.
    """
    with party(entry.hosts, where, way) as together:
        _greeted(together, entry.name, Asked(), skip_unreachable)
        found = together.call("destroy", {"fabric": entry.name, "force": force})
    left = {host: ssh for host, ssh in entry.hosts.items() if host not in found}
    if left:
        opened_book(where).keep(entry._replace(hosts=left))
    else:
        opened_book(where).forget(entry.name)
    return _with_hosts(found)


def status(entry: Entry, where: Where = HERE, *, way: Connect = connect) -> dict[str, Any]:
    """What there is of a fabric, as `status -o json` prints it; each node has its `host`."""
    together: dict[str, Any] = {
        "version": 1,
        "fabric": entry.name,
        "file": entry.file,
        "user": entry.user,
        "hosts": dict(entry.hosts),
        "networks": {},
        "nodes": {},
        "links": [],
        "differs": 0,
    }
    for host, found in _on_each("status", entry, where, way).items():
        together["networks"] |= found["networks"]
        together["nodes"] |= {name: {**node, "host": host} for name, node in found["nodes"].items()}
        together["links"] += [link for link in found["links"] if link not in together["links"]]
        together["differs"] += found["differs"]
    rank = {name: number for number, name in enumerate(entry.summary["nodes"])}
    together["nodes"] = dict(sorted(together["nodes"].items(), key=lambda item: rank.get(item[0], len(rank))))
    return together


def programs(entry: Entry, where: Where = HERE, *, way: Connect = connect) -> list[dict[str, Any]]:
    """Every program of the fabric, as `ps -o json` prints it, with its host."""
    found = _on_each("programs", entry, where, way)
    return [
        {**one, "host": host} for host, ran in found.items() for one in ran if one["fabric"] == entry.name
    ]
