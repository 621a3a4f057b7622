"""The API for fabrics on other hosts, or on several; fabric.py is the same for this host alone.

The topology names the hosts, or, for a fabric given by name, the controller's book. What a host does is
agent.py's business, how all agree is coordinator.py's; what each host answers for itself is each_host.py's.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from netfab.applying.pulling import with_its_images
from netfab.errors import LeaseConflict, NetfabError
from netfab.files.saved_plans import SavedPlan, refuse_moved
from netfab.hosts import simulated
from netfab.multihost.each_host import (
    destroy,
    drift,
    programs,
    reconcile,
    refuse_home,
    refuse_unknown,
    status,
    topology_of,
    tried,
)
from netfab.multihost.outcomes import (
    Outcome,
    known,
    nodes_on,
    outcome_of,
    parts_of,
    plan,
    plan_alone,
    refuse_alone,
)
from netfab.multihost.secret import secret_alone, secret_of
from netfab.objects.bgp_peer import BgpPeer
from netfab.objects.container import Container
from netfab.plan.planner import Plan
from netfab.remote.answers import Changes, Prepared
from netfab.remote.coordinator import transact
from netfab.remote.images import give
from netfab.remote.meeting import greeted
from netfab.remote.messages import StaleBase
from netfab.remote.orders import Planned, entry_for, orders_for
from netfab.remote.party import Connect, Party, connect, connect_anew, party
from netfab.remote.planning import planned, planned_alone
from netfab.remote.reach import refuse_narrow
from netfab.store.book import Book, Entry
from netfab.topology.kept import kept_text
from netfab.topology.schema import Topology
from netfab.where import (
    HERE,
    Where,
    locked_book,
    opened_book,
    opened_store,
    refuse_another,
)

if TYPE_CHECKING:
    from netfab.store.shared import SharedBook

__all__ = [
    "Changes",
    "Outcome",
    "apply",
    "apply_alone",
    "confirmed",
    "confirmed_alone",
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

_KEPT = "what {} had stays held until an apply reaches it; `--forget` where it never comes back"
ATTEMPTS = 100  # to apply, while other controllers are first; each failure means that one of them succeeded


def hosts_of(topology: Topology, destination: str = "") -> dict[str, str]:
    """The topology's hosts, and how each is reached; empty: it is for this machine alone.

    `destination`: put all of it there. With a shared store, this machine is a host like any other. Raises
    NetfabError if the file contradicts that, or has two hosts that are one machine.
    """
    found = {host.name: host.ssh for host in topology.hosts.values()}
    if destination and found:
        raise NetfabError(f"--ssh {destination}: this file names its hosts itself: {', '.join(found)}")
    simulated_hosts = simulated.names()
    here = [host for host, ssh in found.items() if not ssh and host not in simulated_hosts]
    if len(here) > 1:
        raise NetfabError(
            f"{here[0]} and {here[1]} have no `ssh`, and this machine is one host",
            at=topology.hosts[here[1]].at.own,
            hint="write how the others are reached: `ssh: root@ADDRESS`; `netfab lab` simulates all",
        )
    if not found and not destination and topology.store is not None:
        return {os.uname().nodename: ""}
    return {destination: destination} if destination else found


def apply(
    topology: Topology,
    hosts: Mapping[str, str],
    file: str,
    where: Where = HERE,
    *,
    take_over: bool = False,
    skip_unreachable: bool = False,
    forget: Collection[str] = (),
    only: Collection[str] = (),
    saved: SavedPlan | None = None,
    confirm: float = 0.0,
    way: Connect = connect,
    way_anew: Connect = connect_anew,
) -> Outcome:
    """Make all hosts match the topology, or change none.

    Hosts that the fabric is on and the file no longer has are cleared. `skip_unreachable`: hosts that
    can't be reached stay as they are, until a later apply; `forget`: hosts, no longer in the file, that are
    not tried again if they can't be reached now; `only`: nothing but what those nodes have
    or need; `saved`: fail unless file and kernels are as they were when that plan was saved;
    `confirm`: seconds until each host rolls back, unless `confirmed` is called. Raises NetfabError.
    """
    written = topology
    with (
        with_its_images(topology, where, only) as topology,
        locked_book(topology.name, topology.store, where) as book,
    ):
        entry = book.entry(topology.name)
        _refuse_elsewhere(topology, hosts, file, entry, take_over)
        _refuse_forgetting(topology, hosts, entry, forget)
        gone = {host: ssh for host, ssh in (entry.hosts if entry else {}).items() if host not in hosts}
        cleared = {} if only else gone
        secret = secret_of(topology, where)
        with party({**hosts, **cleared}, where, way, book.keep_alive) as together:
            conflicting = ""
            for attempt in range(ATTEMPTS):
                others = book.others(topology.name)
                made = planned(
                    topology, together, hosts, entry, others, skip_unreachable, only, secret, cleared, forget
                )
                give(together, made.plans, where)
                absent = {*hosts, *gone} - made.said.keys() - {*forget}
                begun = entry_for(topology, file, {**hosts, **gone}, made, entry, absent)
                orders = dict(orders_for(topology, made, begun, take_over, cleared, confirm))
                left = {host for host, order in orders.items() if not order.fabric} | {*forget}
                hosts_then = {host: ssh for host, ssh in begun.hosts.items() if host not in left}
                text = kept_text(written) if not only else entry.topology if entry else ""
                decided = begun._replace(hosts=hosts_then, topology=text)
                check = partial(_check, together, topology, made, saved)
                anew = partial(_anew, topology.name, begun.hosts, where, way_anew)
                try:
                    with _begun(book, begun, entry):
                        if secret:
                            opened_book(where).keep_secret(topology.name, secret)
                        keep = partial(book.keep, decided)
                        changes = transact(together, orders, where, check, keep, anew)
                except StaleBase:
                    if attempt == ATTEMPTS - 1:
                        raise
                except LeaseConflict as conflict:
                    if attempt == ATTEMPTS - 1 or conflict.message == conflicting:  # it was no race
                        conflict.hint = _KEPT.format(", ".join(sorted(absent))) if absent else ""
                        raise
                    conflicting = conflict.message
                else:
                    _wait_until_ready(together, topology.name, made.plans)
                    book.settle(decided)
                    return outcome_of(topology, made, changes)
    raise AssertionError("unreachable")


@contextmanager
def _anew(
    name: str, hosts: Mapping[str, str], where: Where, way: Connect, asked: Collection[str]
) -> Iterator[Party]:
    """The `asked` hosts, reconnected. Raises NetfabError if one is not reached."""
    with party({host: hosts[host] for host in asked}, where, way) as together:
        greeted(together, name)
        yield together


def confirmed(entry: Entry, where: Where = HERE, *, way: Connect = connect_anew) -> None:
    """Keep what was applied with `confirm`, on all hosts; on none if one is not reached.

    Raises NetfabError.
    """
    with _anew(entry.name, entry.hosts, where, way, entry.hosts) as together:
        together.call("confirm", {"fabric": entry.name})


def confirmed_alone(name: str, host: str, where: Where = HERE) -> None:
    """Keep what `apply_alone` made here with `confirm`. Raises NetfabError."""
    from netfab.unattended.confirm import confirm

    with opened_store(where) as store:
        part = store.part(name)
    if part is None or part.host != host:
        here = f"this machine is {part.host} of it" if part else "it has no part here"
        raise NetfabError(f"fabric {name} has no change of {host} here", hint=here)
    confirm(name, where)


def _check(
    together: Party,
    topology: Topology,
    made: Planned,
    saved: SavedPlan | None,
    prepared: Mapping[str, Prepared],
) -> None:
    """Raises NetfabError if what all have prepared is impossible, or is not what was saved."""
    _refuse_moved(together, made, saved, prepared)
    refuse_narrow(together, topology, made.plans, prepared)


def _refuse_moved(
    together: Party, made: Planned, saved: SavedPlan | None, prepared: Mapping[str, Prepared]
) -> None:
    if saved is not None:
        refuse_moved(saved, parts_of(together, made, list(prepared)))


def _refuse_elsewhere(
    topology: Topology, hosts: Mapping[str, str], file: str, entry: Entry | None, take_over: bool
) -> None:
    """Raises NetfabError if the fabric was applied elsewhere in a way that this controller can't continue."""
    if entry is None or not entry.store:
        return
    if topology.store is None:
        raise NetfabError(
            f"fabric {topology.name} is in {entry.store}, and this file names no store",
            hint=f"`netfab destroy {topology.name}` first",
        )
    refuse_another(entry, file, take_over)
    refuse_home(entry, {**entry.hosts, **hosts})


def _refuse_forgetting(
    topology: Topology, hosts: Mapping[str, str], entry: Entry | None, forget: Collection[str]
) -> None:
    """Raises NetfabError if a host to be forgotten is in the file, or the fabric is not on it."""
    for host in forget:
        if host in hosts:
            at = topology.hosts[host].at.own if host in topology.hosts else None
            raise NetfabError(
                f"{host} is one of the file's hosts, and those are not forgotten",
                at=at,
                hint="remove its line, and move its nodes elsewhere",
            )
        if entry is None:
            raise NetfabError(f"fabric {topology.name} was not applied from here: no host of it is known")
        refuse_unknown(entry, [host])


def apply_alone(
    topology: Topology,
    host: str,
    file: str,
    where: Where = HERE,
    *,
    take_over: bool = False,
    saved: SavedPlan | None = None,
    confirm: float = 0.0,
    way: Connect = connect,
) -> Outcome:
    """Make this machine match `host`'s part of the topology, without contacting any other host.

    `saved`, `confirm`: as for apply. Raises NetfabError if a choice would depend on the others.
    """
    refuse_alone(topology, host)
    with (
        with_its_images(topology, where, nodes_on(topology, host)) as topology,
        party({host: ""}, where, way) as together,
    ):
        made = planned_alone(topology, together, host, secret_alone(topology, where))
        begun = entry_for(topology, file, {host: ""}, made, None)
        orders = dict(orders_for(topology, made, begun, take_over, (), confirm))
        check = partial(_refuse_moved, together, made, saved)
        anew = partial(_anew, topology.name, {host: ""}, where, way)
        changes = transact(together, orders, where, check, lambda: None, anew)
        _wait_until_ready(together, topology.name, made.plans)
        return outcome_of(topology, made, changes)


def _wait_until_ready(together: Party, name: str, plans: Mapping[str, Plan]) -> None:
    """Wait for all programs with readiness probes, and until hosts have each other's routes."""
    waiting = [host for host, made in plans.items() if any(map(_takes_time, made.fabric.values()))]
    together.ask_all({host: {"verb": "ready", "fabric": name} for host in waiting})


def _takes_time(thing: Any) -> bool:
    return isinstance(thing, BgpPeer) or (isinstance(thing, Container) and bool(thing.ready))


@contextmanager
def _begun(book: Book | SharedBook, begun: Entry, entry: Entry | None) -> Iterator[None]:
    """Within this, the book has the begun entry; it is taken back if a failed apply was undone."""
    book.begin(begun, entry)
    try:
        yield
    except NetfabError as failure:
        if failure.undone:
            book.take_back(begun, entry)
        raise
