"""Seats: every interface that the file asks for, before it has addresses; and who routes and reaches what."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from netfab.errors import PlanError, raise_all
from netfab.topology.schema import HostGateway, Link, Network, NodeGateway, Places, Planned, Port, Topology

BRIDGE_PORTS = 1023  # BR_MAX_PORTS less one; the next fails with EXFULL


class Seat(NamedTuple):
    """A nic before it has addresses: which port of which node, on what."""

    node: str
    name: str
    segment: str
    port: Port
    key: str  # SEGMENT/NODE#k: stable whatever else changes
    at: Places


def segment_names(topology: Topology) -> list[str]:
    """A name for each link, unique among parallel ones."""
    seen: Counter[str] = Counter()
    names = []
    for link in topology.links:
        seen[link.name] += 1
        names.append(link.name if seen[link.name] == 1 else f"{link.name} #{seen[link.name]}")
    return names


def wishes(topology: Topology) -> Iterator[tuple[str, Network | Link]]:
    """Every network and link, by the name of its segment."""
    yield from topology.networks.items()
    yield from zip(segment_names(topology), topology.links, strict=True)


def seats_of(topology: Topology) -> list[Seat]:
    """Every interface of every node: networks in written order, links after; eth0, eth1 …, skipping written names."""
    of: dict[str, list[tuple[str, Port, Places]]] = {
        node.name: [(a.network, a.port, a.at) for a in node.attachments] for node in topology.nodes.values()
    }
    for name, link in zip(segment_names(topology), topology.links, strict=True):
        for end in link.ends:
            of[end.node].append((name, end.port, end.at))
    seats = []
    for node, entries in of.items():
        written = {port.name for _, port, _ in entries}
        free = (f"eth{n}" for n in range(len(entries) + len(written)) if f"eth{n}" not in written)
        again: Counter[str] = Counter()
        for segment, port, at in entries:
            again[segment] += 1
            name = next(free) if isinstance(port.name, Planned) else port.name
            seats.append(Seat(node, name, segment, port, f"{segment}/{node}#{again[segment]}", at))
    return seats


def refuse_crowds(topology: Topology, by_segment: Mapping[str, list[Seat]]) -> None:
    """Raises PlanError for a network with more interfaces than a bridge has ports."""
    raise_all(
        PlanError(
            f"{len(by_segment[name])} interfaces on one bridge, which holds {BRIDGE_PORTS}",
            at=network.at.own,
            hint="split it into several networks with a router between them",
        )
        for name, network in topology.networks.items()
        if len(by_segment[name]) > BRIDGE_PORTS
    )


def routers(topology: Topology) -> frozenset[str]:
    """Nodes that forward: named by a `gateway:`, or with `forward: true`."""
    named = {n.gateway.node for n in topology.networks.values() if isinstance(n.gateway, NodeGateway)}
    return frozenset(named | {node.name for node in topology.nodes.values() if node.forward})


def host_reach(topology: Topology) -> frozenset[str]:
    """Segments that the host is on (it is their gateway), or reaches through routers from there."""
    forwards = routers(topology)
    on: dict[str, list[str]] = defaultdict(list)
    for seat in seats_of(topology):
        if seat.node in forwards:
            on[seat.node].append(seat.segment)
    reach = {name for name, network in topology.networks.items() if isinstance(network.gateway, HostGateway)}
    grew = True
    while grew:
        grew = False
        for segments in on.values():
            if not reach.isdisjoint(segments) and not reach.issuperset(segments):
                reach.update(segments)
                grew = True
    return frozenset(reach)
