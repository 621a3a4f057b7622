"""The API for fabrics that are on other hosts, or on several: what fabric.py is for one host.

Which hosts these are, the topology says, or, by a fabric's name, the controller's book. What a host does is
agent.py's business, how all agree is coordinator.py's; what each answers for itself is in everywhere.py.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from netfab.errors import NetfabError
from netfab.everywhere import (
    Changes,
    destroy,
    drift,
    programs,
    reconcile,
    status,
    topology_of,
    tried,
    with_hosts,
)
from netfab.fabric import text_of
from netfab.hosts import simulated
from netfab.objects.container import Container
from netfab.plan.placement import of_all
from netfab.plan.planner import Plan
from netfab.plan.prefixes import reasons
from netfab.plan.runs_on import place
from netfab.pulling import as_far_as_they_are_here, with_its_images
from netfab.remote.coordinator import transact
from netfab.remote.images import give
from netfab.remote.messages import StaleBase
from netfab.remote.orders import Planned, desired_on, entry_for, orders_for, summary_of
from netfab.remote.party import Connect, Party, connect, party
from netfab.remote.planning import planned, planned_alone
from netfab.remote.reach import refuse_narrow
from netfab.store.book import Book, Entry
from netfab.topology.schema import Topology
from netfab.where import HERE, Where, opened_book

__all__ = [
    "Changes",
    "Outcome",
    "apply",
    "apply_alone",
    "destroy",
    "drift",
    "hosts_of",
    "known",
    "plan",
    "plan_alone",
    "programs",
    "reconcile",
    "status",
    "topology_of",
    "tried",
]

_NOT_DECIDED = ""  # as the transaction of an entry
ATTEMPTS = 5  # at an apply, when other controllers are first


class Outcome(NamedTuple):
    """What was planned, and what it changes."""

    summary: Mapping[str, Any]
    changes: Changes
    warnings: tuple[str, ...]
    plans: Mapping[str, Plan]
    reasons: tuple[str, ...] = ()


def hosts_of(topology: Topology, destination: str = "") -> dict[str, str]:
    """The hosts that a topology is for, and how each is reached; none: it is for this machine alone.

    `destination`: where all of it goes. Raises NetfabError where the file says otherwise, or means one
    machine by two hosts.
    """
    found = {host.name: host.ssh for host in topology.hosts.values()}
    if destination and found:
        raise NetfabError(
            f"--ssh {destination}: this file says itself which hosts it is for: {', '.join(found)}"
        )
    simulated_hosts = simulated.names()
    here = [host for host, ssh in found.items() if not ssh and host not in simulated_hosts]
    if len(here) > 1:
        raise NetfabError(
            f"{here[0]} and {here[1]} have no `ssh`, and this machine is one host",
            at=topology.hosts[here[1]].at.own,
            hint="write how the others are reached: `ssh: root@ADDRESS`; `netfab lab` simulates all",
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
    only: Collection[str] = (),
    way: Connect = connect,
) -> Outcome:
    """Make all hosts match the topology, or change none.

    Hosts that the fabric is on and that the file no longer has are cleared. `skip_unreachable`: hosts that
    can't be reached stay as they are, until a later apply; `only`: nothing but what those nodes have or need.
    Raises NetfabError.
    """
    entry = known(topology.name, where)
    gone = {host: ssh for host, ssh in (entry.hosts if entry else {}).items() if host not in hosts}
    cleared = {} if only else gone
    written = topology
    with (
        with_its_images(topology, where, only) as topology,
        party({**hosts, **cleared}, where, way) as together,
    ):
        for attempt in range(ATTEMPTS):
            made = planned(topology, together, hosts, entry, skip_unreachable, only)
            give(together, made.plans, where)
            begun = entry_for(topology, file, {**hosts, **gone}, made, entry)
            orders = dict(orders_for(topology, made, begun, take_over, cleared))
            try:
                with _in_the_book(begun, entry, where) as book:
                    left = cleared.keys() & made.said
                    hosts_then = {host: ssh for host, ssh in begun.hosts.items() if host not in left}
                    text = text_of(written) if not only else entry.topology if entry else ""
                    decided = partial(book.keep, begun._replace(hosts=hosts_then, topology=text))
                    check = partial(refuse_narrow, together, topology, made.plans)
                    changes = transact(together, orders, where, check, decided)
            except StaleBase:
                if attempt == ATTEMPTS - 1:
                    raise
            else:
                _wait_until_ready(together, topology.name, made.plans)
                return _outcome(topology, made, changes)
    raise AssertionError("unreachable")


def apply_alone(
    topology: Topology,
    host: str,
    file: str,
    where: Where = HERE,
    *,
    take_over: bool = False,
    way: Connect = connect,
) -> Outcome:
    """Make this machine match the part of the topology that is `host`'s; nobody else is asked or told.

    Raises NetfabError where that would be chosen by what the others have.
    """
    with (
        with_its_images(topology, where, _nodes_on(topology, host)) as topology,
        party(_only(topology, host), where, way) as together,
    ):
        made = planned_alone(topology, together, host)
        begun = entry_for(topology, file, {host: ""}, made, None)
        orders = dict(orders_for(topology, made, begun, take_over, ()))
        changes = transact(together, orders, where, lambda _: None, lambda: None)
        _wait_until_ready(together, topology.name, made.plans)
        return _outcome(topology, made, changes)


def _nodes_on(topology: Topology, host: str) -> list[str]:
    """The nodes that the host runs."""
    return [node for node, on in place(topology).nodes.items() if on == host]


def _only(topology: Topology, host: str) -> dict[str, str]:
    """That host, which is this machine. Raises NetfabError where the file doesn't have it."""
    if host not in topology.hosts:
        named = ", ".join(topology.hosts)
        hint = f"its hosts are {named}" if named else "it names no hosts: leave --host out"
        raise NetfabError(f"this file is for no host {host}", hint=hint)
    return {host: ""}


def _wait_until_ready(together: Party, name: str, plans: Mapping[str, Plan]) -> None:
    """Until all programs are that say when they are."""
    waiting = [
        host
        for host, made in plans.items()
        if any(isinstance(thing, Container) and thing.ready for thing in made.fabric.values())
    ]
    together.ask_all({host: {"verb": "ready", "fabric": name} for host in waiting})


@contextmanager
def _in_the_book(begun: Entry, entry: Entry | None, where: Where) -> Iterator[Book]:
    """The book, which has all hosts before one of them is changed: so `destroy` finds them, come what may."""
    book = opened_book(where)
    kept = entry is None or begun.hosts != entry.hosts
    if kept:
        book.keep(begun._replace(generation=begun.generation - 1, transaction=_NOT_DECIDED))
    try:
        yield book
    except NetfabError as failure:
        now = book.entry(begun.name) if kept and failure.undone else None
        if now is not None and now.transaction == _NOT_DECIDED:  # else another controller's is there
            book.keep(entry) if entry else book.forget(begun.name)
        raise


def plan(
    topology: Topology,
    hosts: Mapping[str, str],
    where: Where = HERE,
    *,
    why: bool = False,
    skip_unreachable: bool = False,
    only: Collection[str] = (),
    way: Connect = connect,
) -> Outcome:
    """What apply would change, on each host. Changes nothing.

    With `why`, also the reason for each subnet: what was rejected, and who on which host holds it.
    """
    entry = known(topology.name, where)
    topology, missing = as_far_as_they_are_here(topology, where, only)
    with party(hosts, where, way) as together:
        made = planned(topology, together, hosts, entry, skip_unreachable, only)
        return _compared(topology, together, made, why, missing)


def plan_alone(
    topology: Topology, host: str, where: Where = HERE, *, why: bool = False, way: Connect = connect
) -> Outcome:
    """What apply_alone would change. Changes nothing."""
    topology, missing = as_far_as_they_are_here(topology, where, _nodes_on(topology, host))
    with party(_only(topology, host), where, way) as together:
        made = planned_alone(topology, together, host)
        return _compared(topology, together, made, why, missing)


def _compared(
    topology: Topology, together: Party, made: Planned, why: bool, missing: Iterable[str]
) -> Outcome:
    said = together.ask_all({
        host: {"verb": "compare", "fabric": json.loads(desired_on(host, made).to_json())}
        for host in made.plans
    })  # fmt: skip
    outcome = _outcome(topology, made, {host: answer["changes"] for host, answer in said.items()})
    outcome = outcome._replace(warnings=(*outcome.warnings, *missing))
    return outcome._replace(reasons=tuple(_reasons(topology, made))) if why else outcome


def _reasons(topology: Topology, made: Planned) -> Iterable[str]:
    layout = next(iter(made.plans.values())).layout
    facts = of_all(topology, made.facts) if topology.hosts else next(iter(made.facts.values()))
    return reasons(topology, layout.prefixes, facts, [lease.key for lease in made.leases])


def _outcome(
    topology: Topology, made: Planned, changes: Mapping[str, Iterable[Mapping[str, Any]]]
) -> Outcome:
    told = (warning for plan in made.plans.values() for warning in plan.warnings)
    return Outcome(
        summary_of(topology, made),
        with_hosts(changes),
        (*made.warnings, *dict.fromkeys(told)),
        made.plans,
    )
