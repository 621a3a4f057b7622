"""What can't be of sysctls that are about one interface of their node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from netfab.errors import PlanError
from netfab.objects.sysctl import interface_of, key_of, of_new_one
from netfab.plan.seats import Seat
from netfab.topology.grammar import tag_of
from netfab.topology.schema import Topology

_ROUTER = "`forward: true` makes a router"
_ALL = "`net.ipv4.conf.all.{}` is for all of its interfaces"
# What netfab gives each link itself (objects/link.py, Settings), and what to write instead.
_OWN: Mapping[str, str] = {
    "net/ipv4/conf/default/forwarding": _ROUTER,
    "net/ipv4/conf/default/rp_filter": _ALL.format("rp_filter"),
    "net/ipv4/conf/default/promote_secondaries": "",
    "net/ipv4/conf/default/route_localnet": _ALL.format("route_localnet"),
    "net/ipv6/conf/default/force_forwarding": _ROUTER,
    "net/ipv6/conf/default/accept_ra": "",
    "net/ipv6/conf/default/accept_redirects": "",
    "net/ipv6/conf/default/disable_ipv6": "",
}


def of_interfaces(topology: Topology, seats: Mapping[str, Sequence[Seat]]) -> Iterator[PlanError]:
    """Sysctls of interfaces that their nodes don't have, and those that are netfab's own.

    `seats` are by segment.
    """
    there: dict[str, dict[str, None]] = {node.name: {} for node in topology.nodes.values() if node.sysctls}
    for seat in (seat for several in seats.values() if there for seat in several if seat.node in there):
        tag = tag_of(seat.name)
        there[seat.node] |= dict.fromkeys((seat.name, *(tag[:1] if tag else ())))
    for name, interfaces in there.items():
        node = topology.nodes[name]
        for dotted, _ in node.sysctls:
            key = key_of(dotted)
            interface = interface_of(key)
            if interface and interface not in interfaces:
                hint = f"its interfaces are {', '.join(interfaces) or 'none'}"
                yield PlanError(f"{name} has no interface {interface}", at=node.at.of("sysctls"), hint=hint)
            elif interface and (own := of_new_one(key)) in _OWN:
                yield PlanError(f"netfab sets {dotted} itself", at=node.at.of("sysctls"), hint=_OWN[own])
