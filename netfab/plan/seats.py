"""Seats: every interface that the file asks for, before it has addresses; and which nodes route."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_interface
from typing import Literal

from netfab.topology.interfaces import interface_names
from netfab.topology.schema import (
    PLANNED,
    Address,
    HostGateway,
    Link,
    Network,
    Node,
    NodeGateway,
    Places,
    Planned,
    Port,
    Topology,
)
from netfab.tuples import NamedTuple

LOOPBACKS = "*loopback"  # the segment of planned loopbacks' addresses; no interface is on it


class Seat(NamedTuple):
    """A nic before it has addresses: a node's port on a segment."""

    node: str
    name: str
    segment: str
    port: Port
    key: str  # SEGMENT/NODE#k: stable when others change
    at: Places

    @property
    def holder(self) -> str:
        """Its owner, in words."""
        return f"host {self.node[1:]}" if self.is_hosts else f"node {self.node}"

    @property
    def is_hosts(self) -> bool:
        """Whether it is a bridge's."""
        return self.node.startswith("@")


def host_seats(spec: Network | Link, hosts: Sequence[str]) -> list[Seat]:
    """The bridge of each of several hosts, on a network for which each host is the gateway.

    An address in `gateway` is the first host's.
    """
    if not (isinstance(spec, Network) and isinstance(spec.gateway, HostGateway)) or spec.external:
        return []
    first = Port(addresses=tuple(map(ip_interface, spec.gateway.addresses)))
    return [
        Seat(f"@{host}", "", spec.name, Port() if index else first, f"{spec.name}/@{host}", spec.at)
        for index, host in enumerate(hosts)
    ]


def segment_names(topology: Topology) -> list[str]:
    """A name for each link, unique among parallel ones."""
    seen: Counter[str] = Counter()
    names = []
    for link in topology.links:
        seen[link.name] += 1
        names.append(link.name if seen[link.name] == 1 else f"{link.name} #{seen[link.name]}")
    return names


def specs(topology: Topology) -> Iterator[tuple[str, Network | Link]]:
    """Every network and link, by the name of its segment."""
    yield from topology.networks.items()
    yield from zip(segment_names(topology), topology.links, strict=True)


def seats_of(topology: Topology) -> list[Seat]:
    """Every interface of every node: networks in written order, links after."""
    linked: dict[str, list[tuple[str, Port, Places]]] = defaultdict(list)
    for name, link in zip(segment_names(topology), topology.links, strict=True):
        for end in (end for end in link.ends if not end.is_outside):
            linked[end.node].append((name, end.port, end.at))
    seats = []
    for node in topology.nodes.values():
        entries = [*node.attachments, *linked.get(node.name, ())]
        names = interface_names([port.name for _, port, _ in entries], bool(node.attach))
        again: dict[str, int] = {}
        for name, (segment, port, at) in zip(names, entries, strict=True):
            number = again[segment] = again.get(segment, 0) + 1
            seats.append(Seat(node.name, name, segment, port, f"{segment}/{node.name}#{number}", at))
    return seats


def host_is_gateway(spec: Network | Link) -> bool:
    """Whether the host has the gateway's address; a foreign bridge gets only ports."""
    return isinstance(spec, Network) and isinstance(spec.gateway, HostGateway) and not spec.external


def _ends_at_host(spec: Network | Link) -> bool:
    return isinstance(spec, Link) and spec.outside is not None and spec.outside.kind == "host"


def routers(topology: Topology) -> frozenset[str]:
    """Nodes that forward: named by a `gateway:`, or with `forward: true`."""
    named = {n.gateway.node for n in topology.networks.values() if isinstance(n.gateway, NodeGateway)}
    return frozenset(named | {node.name for node in topology.nodes.values() if node.forward})


def host_reach(topology: Topology, seats: Mapping[str, Sequence[Seat]]) -> frozenset[str]:
    """Segments that the host is on, or reaches through routers from those whose gateway it is."""
    forwards = routers(topology)
    on: dict[str, list[str]] = defaultdict(list)
    for name, there in seats.items():
        for seat in there:
            if seat.node in forwards:
                on[seat.node].append(name)
    waiting = [name for name, network in topology.networks.items() if host_is_gateway(network)]
    reach = {*waiting, *(name for name, spec in specs(topology) if _ends_at_host(spec))}
    while waiting:
        for seat in seats.get(waiting.pop(), ()):
            for name in on.pop(seat.node, ()):
                if name not in reach:
                    reach.add(name)
                    waiting.append(name)
    return frozenset(reach)


def planned_loopbacks(
    topology: Topology, seats: Mapping[str, Sequence[Seat]]
) -> dict[Literal[4, 6], list[str]]:
    """The nodes with `loopback: true`, by family: those of their subnets; IPv4 if they have none."""
    planned = {node.name for node in topology.nodes.values() if node.loopback is PLANNED}
    if not planned:
        return {}
    families: dict[str, set[int]] = {name: set() for name in planned}
    for name, spec in specs(topology):
        subnets = {subnet.version for subnet in spec.subnets}
        for seat in seats[name]:
            if seat.node in planned:
                families[seat.node] |= subnets
    found: dict[Literal[4, 6], list[str]] = {
        4: [node for node in topology.nodes if node in planned and families[node] != {6}],
        6: [node for node in topology.nodes if node in planned and 6 in families[node]],
    }
    return {family: nodes for family, nodes in found.items() if nodes}


def written_loopbacks(topology: Topology) -> Iterator[tuple[Address, str]]:
    """Every loopback in the file, with its node."""
    for node in topology.nodes.values():
        if not isinstance(node.loopback, Planned):
            yield from ((address, node.name) for address in node.loopback)


def argv_of(node: Node) -> tuple[str, ...]:
    """Entrypoint and command; () for a node that is only a namespace."""
    if node.command == ():
        return ()
    return (*(node.entrypoint or ()), *(node.command or ()))
