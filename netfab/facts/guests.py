"""Guests of fabrics, looked up again when needed, as they may have been restarted or removed meanwhile."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from netfab.engine.diff import Change
from netfab.errors import GuestGone, NetfabError, UnknownGuest, raise_all
from netfab.objects.base import Fabric
from netfab.objects.guest import Guest
from netfab.plan.facts import Asked, FoundGuest
from netfab.system import linux
from netfab.topology.schema import Topology
from netfab.where import Where, records

if TYPE_CHECKING:
    from netfab.guests.guest import Guest as FoundRun

_SIOCGIFADDR = 0x8915  # linux/sockios.h


def guests_of(
    asked: Asked, last: Fabric, where: Where
) -> tuple[dict[str, FoundGuest], dict[str, NetfabError]]:
    """The containers asked for, by the words for them, and the errors of those that are not found.

    `last`: the fabric as it was last applied.
    """
    if not (asked.guests or asked.former):
        return {}, {}
    known, find = guests_in(last), _finder(where)
    found: dict[str, FoundGuest] = {}
    errors: dict[str, NetfabError] = {}
    for word in asked.former:
        former = known.get(word)
        found[word] = FoundGuest(*former[1:]) if former else FoundGuest(word, "", 0, "")
    for word in asked.guests:
        try:
            run = run_of(known[word], where) if word in known else None
            found[word] = FoundGuest(*run[1:]) if run else _fact(find(word))
        except NetfabError as error:
            errors[word] = error
    return found, errors


def refuse_unfound(topology: Topology, errors: Mapping[str, NetfabError]) -> None:
    """Raises the errors of nodes' `attach`, at their locations in the file."""
    for node in topology.nodes.values():
        if node.attach in errors:
            errors[node.attach].at = node.at.of("attach")
    raise_all(errors.values())


def guests_in(fabric: Fabric) -> dict[str, Guest]:
    """The guests of a fabric, by label."""
    return {thing.label: thing for thing in fabric.values() if type(thing) is Guest}


def find(word: str, where: Where) -> FoundRun:
    """The guest that is meant, as it runs now. Raises NoGuest, and the like."""
    return _finder(where)(word)


def _finder(where: Where) -> Callable[[str], FoundRun]:
    """`find` for many words: each source's list of guests is read once."""
    from netfab.guests.find import finder

    return finder(_sources(where))


def runs(word: str, where: Where) -> bool:
    """Whether the guest that is meant runs; also False if that is unknown."""
    try:
        find(word, where)
    except NetfabError:
        return False
    return True


def there_is(label: str, where: Where) -> bool:
    """Whether such a guest exists, running or not; also True if that is unknown."""
    from netfab.guests.find import meant

    if label.startswith("pid:"):  # a process that ended is not started again
        return False
    try:
        meant(label, _sources(where))
    except UnknownGuest:
        return False
    except NetfabError:
        return True
    return True


def as_they_are_now(fabric: Fabric, where: Where) -> Fabric:
    """The fabric with restarted guests as they run now, and without those that don't run."""
    guests = guests_in(fabric).values()
    if not guests:
        return fabric
    now = {guest: run for guest in guests if (run := run_of(guest, where)) is not None}
    left = fabric.without(guest.name for guest in guests if guest not in now)
    there = (now[thing] if type(thing) is Guest else thing for thing in left.values())
    return Fabric(fabric.name, there)


def ended(last: Fabric, now: Fabric) -> tuple[Change, ...]:
    """Guests that have ended, as changes; they can't be repaired."""
    gone = (guest for guest in guests_in(last).values() if guest.name not in now)
    return tuple(Change(guest, None, "it no longer runs") for guest in gone)


def run_of(guest: Guest, where: Where) -> Guest | None:
    """The guest as it runs now, or None. If the known run goes on, its manager is not asked."""
    from netfab.guests.guest import as_found
    from netfab.guests.opening import open_namespace

    try:
        os.close(open_namespace(as_found(guest.label, guest.pid, guest.started, guest.path)))
        return guest
    except GuestGone:
        pass
    except NetfabError:
        return None
    try:
        return Guest(guest.name, *_fact(find(guest.label, where)))
    except NetfabError:
        return None


def _fact(run: FoundRun) -> FoundGuest:
    return FoundGuest(run.label, run.path, run.pid or 0, run.started)


def _sources(where: Where) -> Any:
    from netfab.guests.namespaces import Node
    from netfab.guests.sources import sources_of

    def nodes() -> Iterator[Node]:
        for record in records(where):
            for name, found in json.loads(record.summary)["nodes"].items():
                if not found["guest"]:
                    yield Node(record.name, name, found["namespace"])

    return sources_of(os.environ)._replace(nodes=nodes)


def run_in_guest(word: str, argv: tuple[str, ...], where: Where) -> int:
    """Run a program of this host in only a guest's network namespace; returns its exit status.

    Raises NetfabError.
    """
    from netfab.runtime.exec import run_in_namespace

    netns = namespace_of_guest(word, where)
    try:
        return run_in_namespace(netns, argv, hostname=os.uname().nodename)
    finally:
        os.close(netns)


def namespace_of_guest(word: str, where: Where) -> int:
    """A descriptor of a guest's network namespace. Raises NetfabError."""
    from netfab.guests.opening import open_namespace

    return open_namespace(find(word, where))


def address_in_guest(word: str, interface: str, where: Where) -> str:
    """The first IPv4 address of an interface there; "" if it has none, or the guest is gone."""
    import fcntl
    import socket

    from netfab.hosts.sandbox import excursion

    with suppress(NetfabError, OSError):
        netns = namespace_of_guest(word, where)
        try:
            with excursion():
                linux.setns(netns, linux.CLONE_NEWNET)
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
                    request = interface.encode().ljust(32, b"\0")  # struct ifreq, netdevice(7)
                    return socket.inet_ntoa(fcntl.ioctl(asked, _SIOCGIFADDR, request)[20:24])
        finally:
            os.close(netns)
    return ""
