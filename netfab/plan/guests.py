"""A node that somebody else runs: its guest takes the place of a namespace, and keeps some settings.

facts/guests.py knows which guest a word means, guests/ how it is found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv6Address

from netfab.objects.address import Address
from netfab.objects.base import Name
from netfab.objects.guest import Guest
from netfab.objects.route import DEFAULT_METRIC6, Route
from netfab.plan.facts import Facts
from netfab.topology.schema import Node, Topology

IN_FRONT6 = DEFAULT_METRIC6 // 2  # IPv6 has no "before": of two default routes the lower metric wins


def guest_of(fabric: str, node: Node, facts: Facts) -> Guest:
    """The namespace of a guest, in place of a node's own."""
    found = facts.guests[node.attach]
    return Guest(
        Name("namespace", f"{fabric}.{node.name}"), found.label, found.path, found.pid, found.started
    )


def addresses_in_guest(addresses: Iterable[Address]) -> list[Address]:
    """Without link-local ones if nothing else is IPv6: many guests have IPv6 disabled."""
    found = list(addresses)
    if any(isinstance(a.address, IPv6Address) and not a.address.is_link_local for a in found):
        return found
    return [a for a in found if not isinstance(a.address, IPv6Address)]


def routes_in_guests(topology: Topology, routes: Iterable[Route]) -> Iterator[Route]:
    """The routes of all nodes; a guest's before its own, and no default route that was not asked for."""
    guests = {f"node {topology.name}.{node.name}": node for node in topology.nodes.values() if node.attach}
    for route in routes:
        node = guests.get(route.space)
        if node is None:
            yield route
        elif route.destination.prefixlen or wants_default(node):
            metric = route.metric if route.destination.version == 4 else min(route.metric, IN_FRONT6)
            yield route._replace(in_front=True, metric=metric)


def wants_default(node: Node) -> bool:
    """Whether we set the guest's default route: `gateway: true`, or a route that says so."""
    return any(attachment.port.gateway for attachment in node.attachments) or any(
        spec.destination is None for spec in node.routes
    )
