"""Guests of fabrics: found again when they are needed, as they were restarted, or are gone, meanwhile."""

from __future__ import annotations

import os

from netfab.errors import NetfabError, raise_all
from netfab.objects.base import Fabric
from netfab.objects.guest import Guest
from netfab.plan.facts import FoundGuest
from netfab.topology.schema import Topology


def guests_of(topology: Topology) -> dict[str, FoundGuest]:
    """The containers that the topology has as nodes, by its words for them. Raises NetfabError."""
    found: dict[str, FoundGuest] = {}
    errors: list[NetfabError] = []
    for node in topology.nodes.values():
        if node.attach:
            try:
                found[node.attach] = found_guest(node.attach)
            except NetfabError as error:
                error.at = node.at.of("attach")
                errors.append(error)
    raise_all(errors)
    return found


def found_guest(word: str) -> FoundGuest:
    """As it runs now. Raises NetfabError."""
    from netfab.guests.find import find

    guest = find(word)
    return FoundGuest(guest.label, guest.path, guest.pid or 0, guest.started)


def as_they_are_now(fabric: Fabric) -> Fabric:
    """The fabric with guests that were restarted as they run now, and without those that don't."""
    guests = [thing for thing in fabric.values() if type(thing) is Guest]
    now: dict[Guest, Guest] = {}
    for guest in guests:
        try:
            now[guest] = Guest(guest.name, *found_guest(guest.label))
        except NetfabError:
            continue
    left = fabric.without(guest.name for guest in guests if guest not in now)
    return Fabric(
        fabric.name, (now.get(thing, thing) if type(thing) is Guest else thing for thing in left.values())
    )


def namespace_of_guest(word: str) -> int:
    """A file descriptor of its network namespace. Raises NetfabError."""
    from netfab.guests.namespace import open_namespace

    found = found_guest(word)
    try:
        return open_namespace(found.path, found.pid, found.started)
    except OSError as error:
        raise NetfabError(f"{word}: {error.strerror or os.strerror(error.errno or 0)}") from error
