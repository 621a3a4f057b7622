"""attach, detach and the like: entries of the host's ad-hoc fabric, planned and applied like any other.

Requests are stored as leases, claimed before the first change as all leases are, so what a killed command
leaves is completed by the next one, or removed by `detach`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from netfab import fabric
from netfab.engine.apply import Applied
from netfab.engine.diff import Change
from netfab.errors import NetfabError, StoreError
from netfab.facts import guests, shared_bridges
from netfab.hosts.lock import locked
from netfab.imperative.attachments import (
    Request,
    attachment_of,
    differs,
    label_of,
    refuse_taken,
    request_of,
    who,
    words_of,
)
from netfab.imperative.farside import FarSides, far_sides, named, refuse_silent_switch
from netfab.objects.kinds import KINDS
from netfab.topology import pipework
from netfab.topology.adhoc import (
    NAME,
    NOWHERE,
    ON_BRIDGES,
    Asked,
    Attachment,
    Standing,
    topology_of,
)
from netfab.tuples import NamedTuple
from netfab.where import HERE, Kept, Where, kept_of, need_root, opened_store, read_store

__all__ = [
    "Outcome",
    "Request",
    "alone",
    "applied",
    "asked_for",
    "attach",
    "attachments",
    "create_bridge",
    "delete_bridge",
    "destroy",
    "detach",
    "drift",
    "reconcile",
    "request_of",
    "run_tool",
    "states",
    "titles",
    "wait_for",
]


class Outcome(NamedTuple):
    """What a command concerned, and its changes."""

    attachments: tuple[Attachment, ...]
    changes: tuple[Change, ...]
    gone: tuple[Attachment, ...] = ()  # dropped, as their guests no longer exist
    warnings: tuple[str, ...] = ()


def attach(request: Request, where: Where = HERE, replace: bool = False, dry_run: bool = False) -> Outcome:
    """Give a running container another interface. Repeating it changes nothing.

    Raises NetfabError if nothing was changed, or everything was undone.
    """
    need_root("attach")
    with alone(where) as where:
        guest = guests.find(request.guest, where)
        with opened_store(where) as store:
            there, asked = far_sides(store, where), shared_bridges.asked(store)
            held = shared_bridges.held_on_bridges(store, NAME)
            subnets = shared_bridges.subnets_on_bridges(store)
        wanted = attachment_of(request, guest, there, subnets)
        before = asked.attachments.get(wanted.key)
        if before is not None and not replace and differs(before, wanted):
            raise NetfabError(
                f"{request.interface} of {guest.name} is attached already, otherwise: {words_of(before)}",
                hint="--replace changes it; -i IF gives it another interface",
            )
        refuse_taken(wanted, asked.attachments.values(), held)
        last = max((one.number for one in asked.attachments.values()), default=0)
        wanted = wanted._replace(number=before.number if before and not replace else last + 1)
        asked = asked._replace(attachments={**asked.attachments, wanted.key: wanted})
        return applied(asked, there, where, dry_run)._replace(attachments=(wanted,))


def run_tool(name: str, guest: str, words: Iterable[str], family: str = "", where: Where = HERE) -> int:
    """pipework's `route`, `rule` and `tc`: run in the guest as is, not stored; returns the exit status."""
    need_root("attach")
    argv = pipework.tool(name, words, family, os.path.exists)
    return guests.run_in_guest(guest, argv, where)


def wait_for(interface: str, seconds: float | None) -> None:
    """Wait until an interface in this namespace carries traffic. Raises NetfabError on timeout."""
    from socket import if_nameindex

    from netfab.kernel.waiting import wait_for_carrier

    if not wait_for_carrier(interface, seconds):
        there = interface in (name for _, name in if_nameindex())
        lacks = f"{interface} has no carrier" if there else f"there is no {interface} here"
        raise NetfabError(f"{lacks} after {seconds:g} s")


def detach(bridge: str, guest: str, interface: str = "", where: Where = HERE) -> Outcome:
    """Undo `attach`, also for a guest that is gone. A missing attachment is no error."""
    need_root("detach")
    with alone(where) as where:
        there, asked = what_there_is(where)
        label, name = label_of(guest, asked.attachments.values(), where), named(bridge, there)
        going = tuple(
            one
            for one in asked.attachments.values()
            if one.guest == label and one.bridge == name and interface in ("", one.interface)
        )
        return applied(_less(asked, going), there, where)._replace(attachments=going)


def create_bridge(name: str, where: Where = HERE) -> Outcome:
    """Create a bridge like Docker's docker0, on a subnet that overlaps nothing here.

    An existing one stays as it is. Raises NetfabError.
    """
    need_root("bridge create")
    with alone(where) as where:
        there, asked = what_there_is(where)
        if name in there.bridges and name not in asked.made:
            return Outcome((), ())
        name = pipework.interface(name)
        return applied(asked._replace(made=asked.made | {name}), there, where)


def delete_bridge(name: str, where: Where = HERE) -> Outcome:
    """Remove what `create_bridge` made. Raises NetfabError while something is attached to it."""
    need_root("bridge delete")
    with alone(where) as where:
        there, asked = what_there_is(where)
        if name not in asked.made:
            raise NetfabError(
                f"`netfab bridge create` did not make {name}",
                hint=f"it made {', '.join(sorted(asked.made)) or 'none'}",
            )
        users = [who(one) for one in asked.attachments.values() if one.bridge == name]
        if users := [*users, *(nic for nic, bridge in asked.uplinks.items() if bridge == name)]:
            raise NetfabError(f"{name} has {', '.join(users)}", hint="netfab detach")
        return applied(asked._replace(made=asked.made - {name}), there, where)


def destroy(name: str, where: Where = HERE) -> Applied:
    """Destroy a fabric, and all attachments to its bridges, even if the store is broken."""
    need_root("destroy")
    with suppress(StoreError):
        _detach_all(name, where)
    return fabric.destroy(name, where, force=True)


def _detach_all(name: str, where: Where) -> None:
    """Remove all attachments to a fabric's bridges."""
    with opened_store(where) as store:
        record = store.record(name)
    mine = {found["bridge"] for found in json.loads(record.summary)["networks"].values()} if record else set()
    with alone(where) as where:
        there, asked = what_there_is(where)
        going = [one for one in asked.attachments.values() if one.bridge in mine]
        staying = {nic: bridge for nic, bridge in asked.uplinks.items() if bridge not in mine}
        if going or staying != asked.uplinks:
            applied(_less(asked, going)._replace(uplinks=staying), there, where)


def reconcile(name: str, where: Where = HERE) -> Outcome:
    """As fabric.reconcile; the ad-hoc fabric is planned again from its requests, and guests as they run."""
    if name != NAME:
        from netfab.imperative import containers
        from netfab.topology.default import NAME as DEFAULT

        if name == DEFAULT:
            return Outcome((), containers.reconcile(where))
        return Outcome((), fabric.reconcile(name, where).changes)
    need_root("reconcile")
    with alone(where) as where:
        there, asked = what_there_is(where)
        return applied(asked, there, where)


def drift(name: str, where: Where = HERE) -> tuple[Change, ...]:
    """What `reconcile` would change; for lack of a file, also what follows from changes of the host.

    An ended guest is a change, although it can't be repaired.
    """
    if name != NAME:
        from netfab.imperative import containers
        from netfab.topology.default import NAME as DEFAULT

        return containers.drift(where) if name == DEFAULT else fabric.drift(name, where)
    need_root("drift")
    with read_store(where) as store:
        last = kept_of(store, NAME)
    if last.record is None:
        return ()
    there, asked = what_there_is(where)
    changes = applied(asked, there, where, dry_run=True).changes
    before = last.applied(KINDS.of({"Guest"}))
    return (*last.shown(changes), *guests.ended(before, guests.as_they_are_now(before, where)))


def titles(where: Where = HERE) -> dict[str, str]:
    """Short names of the guests that have attachments, by their labels, which may be long."""
    return {one.guest: one.title for one in asked_for(where).attachments.values()}


def attachments(where: Where = HERE) -> list[Attachment]:
    """All attachments, in the order of their creation."""
    return sorted(asked_for(where).attachments.values(), key=lambda one: one.number)


def states(there: Iterable[Attachment], where: Where = HERE) -> dict[str, str]:
    """The states of the guests that have attachments, by label: `running`, `ended` or `gone`.

    An ended guest is reattached when it runs again; `reconcile` drops everything of one that is gone.
    """
    with read_store(where) as store:
        last = kept_of(store, NAME)
    labels = {one.guest for one in there}
    runs = dict(_states(labels, last, where))
    return {label: ("running" if runs[label] else "ended") if label in runs else "gone" for label in labels}


@contextmanager
def alone(where: Where) -> Iterator[Where]:
    """One command at a time reads the attachments and applies them with its change, in one open store."""
    with (
        locked(f"{where.run}/{NAME}.attachments.lock", where.lock_timeout, where.waiting),
        opened_store(where) as store,
    ):
        yield where._replace(store=store)


def what_there_is(where: Where) -> tuple[FarSides, Asked]:
    """All bridges and NICs to attach to, and all requests."""
    with opened_store(where) as store:
        return far_sides(store, where), shared_bridges.asked(store)


def asked_for(where: Where) -> Asked:
    """All requests that are in force."""
    with read_store(where) as store:
        return shared_bridges.asked(store)


def _less(asked: Asked, going: Iterable[Attachment]) -> Asked:
    keys = {one.key for one in going}
    return asked._replace(attachments={key: one for key, one in asked.attachments.items() if key not in keys})


def applied(asked: Asked, there: FarSides, where: Where, dry_run: bool = False) -> Outcome:
    """Apply the requests whose guests still exist; with `dry_run`, only return the changes.

    The outcome includes attachments that were dropped with their guests.
    """
    with opened_store(where) as store:
        last = kept_of(store, NAME)
    states = dict(_states({one.guest for one in asked.attachments.values()}, last, where))
    still = {key: one for key, one in asked.attachments.items() if one.guest in states}
    gone = tuple(one for key, one in asked.attachments.items() if key not in still)
    running = {guest for guest, runs in states.items() if runs}
    standing = {
        name: Standing(found["own"], found["mtu"], found["shared"], found["openvswitch"])
        for name, found in there.bridges.items()
    }
    refuse_silent_switch(still.values())
    on_nics = asked.uplinks or any(one.way not in ON_BRIDGES for one in still.values())
    nics = there.nics if on_nics else ()
    topology = topology_of(asked._replace(attachments=still), running, standing, nics)
    try:
        if dry_run:
            proposal = fabric.plan(topology, "", where)
            return Outcome((), proposal.changes, gone, proposal.plan.warnings)
        if not (topology.networks or topology.asked):
            return Outcome((), last.shown(fabric.destroy(NAME, where).changes), gone)
        plan, done = fabric.apply(topology, "", where)
        return Outcome((), last.shown(done.changes), gone, plan.warnings)
    except NetfabError as error:
        for each in getattr(error, "errors", (error,)):
            each.at = None if each.at == NOWHERE else each.at
        raise


def _states(labels: Iterable[str], last: Kept, where: Where) -> Iterator[tuple[str, bool]]:
    """Each guest that still exists, and whether it runs; those as in the last apply are not looked up."""
    known = guests.guests_in(last.applied(KINDS.of({"Guest"})))
    for label in labels:
        before = known.get(label)
        runs = guests.run_of(before, where) is not None if before else guests.runs(label, where)
        if runs or guests.there_is(label, where):
            yield label, runs
