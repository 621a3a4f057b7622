"""Refusals of sysctls that concern a single interface of their node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from netfab.errors import PlanError
from netfab.objects.sysctl import interface_of, key_of, of_new_one
from netfab.plan.seats import Seat, routers
from netfab.topology.grammar import tag_of
from netfab.topology.schema import Topology

_ALL = "`net.ipv4.conf.all.{}` is for all of its interfaces"
# What netfab sets on each link (objects/link.py, Settings) and can't be changed: its value, and the
# alternative.
_OWN: Mapping[str, tuple[str, str]] = {
    "net/ipv4/conf/default/rp_filter": ("0", _ALL.format("rp_filter")),
    "net/ipv4/conf/default/promote_secondaries": ("1", ""),
    "net/ipv4/conf/default/route_localnet": ("0", _ALL.format("route_localnet")),
    "net/ipv6/conf/default/force_forwarding": ("0", ""),
    "net/ipv6/conf/default/accept_ra": ("", ""),  # given by the addresses there
    "net/ipv6/conf/default/accept_redirects": ("0", ""),
}
_FORWARDING = "net/ipv4/conf/default/forwarding"


def of_interfaces(topology: Topology, seats: Mapping[str, Sequence[Seat]]) -> Iterator[PlanError]:
    """Sysctls of interfaces that their nodes don't have, and those reserved to netfab.

    `seats` are by segment.
    """
    there: dict[str, dict[str, None]] = {node.name: {} for node in topology.nodes.values() if node.sysctls}
    for seat in (seat for several in seats.values() if there for seat in several if seat.node in there):
        tag = tag_of(seat.name)
        there[seat.node] |= dict.fromkeys((seat.name, *(tag[:1] if tag else ())))
    forwarding = routers(topology)
    for name, interfaces in there.items():
        node = topology.nodes[name]
        own = {**_OWN, _FORWARDING: (str(int(name in forwarding)), "`forward: true` makes a router")}
        for dotted, value in node.sysctls:
            key = key_of(dotted)
            interface = interface_of(key)
            if interface and interface not in interfaces:
                hint = f"its interfaces are {', '.join(interfaces) or 'none'}"
                yield PlanError(f"{name} has no interface {interface}", at=node.at.of("sysctls"), hint=hint)
            elif interface and (known := own.get(of_new_one(key))) and value != known[0]:
                yield PlanError(f"netfab sets {dotted} itself", at=node.at.of("sysctls"), hint=known[1])
