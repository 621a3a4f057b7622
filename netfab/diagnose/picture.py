"""What a drawing of a topology has in it: boxes with their texts, and the lines between them. Pure.

A node to which only one line leads is drawn inside of where it comes from; any other is a box of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from netfab.topology.schema import (
    ContainerMode,
    ExternalGateway,
    HostGateway,
    HostMode,
    Network,
    Node,
    NodeGateway,
    Topology,
)
from netfab.tuples import NamedTuple

_MANY: Final = 3  # nodes at a node's link ends that are drawn inside of it


class Shape(NamedTuple):
    """A box. kind: network, node, router, or outside for an interface of the host."""

    name: str
    kind: str
    note: str  # a second, smaller line
    details: tuple[str, ...]  # shown on hover
    inside: tuple[Shape, ...] = ()


class Line(NamedTuple):
    """A line between two boxes. kind: member, gateway, link or namespace."""

    a: str
    b: str
    kind: str
    details: tuple[str, ...]


class Picture(NamedTuple):
    """A whole topology."""

    title: str
    shapes: Mapping[str, Shape]  # by name, which is unique
    lines: tuple[Line, ...]
    links: int  # number of links in the topology, drawn or not


def picture_of(topology: Topology, planned: Mapping[str, Any]) -> Picture:
    """The topology's picture; `planned` is a plan's summary, {} if there is none."""
    lines = tuple(_lines(topology, planned))
    homes = _homes(topology, lines)
    inside: dict[str, list[Shape]] = {}
    shapes: dict[str, Shape] = {}
    for node in topology.nodes.values():
        shape = _node(node, topology, planned)
        if node.name in homes:
            inside.setdefault(homes[node.name], []).append(shape)
        else:
            shapes[node.name] = shape
    shapes |= {network.name: _network(network, planned) for network in topology.networks.values()}
    for line in lines:
        for end in (line.a, line.b):
            if end not in topology.nodes and end not in shapes:
                shapes[end] = Shape(end, "outside", "of the host", (f"{end}: an interface of the host",))
    shapes |= {name: shapes[name]._replace(inside=tuple(several)) for name, several in inside.items()}
    shown = tuple(line for line in lines if line.a in shapes and line.b in shapes)
    return Picture(topology.name, shapes, shown, len(topology.links))


def _homes(topology: Topology, lines: Iterable[Line]) -> dict[str, str]:
    """The box in which a node with a single line is drawn.

    Its network's, or that of the node that it is linked to, if several such nodes are.
    """
    ends: dict[str, list[tuple[str, str]]] = {}
    for line in lines:
        ends.setdefault(line.a, []).append((line.b, line.kind))
        ends.setdefault(line.b, []).append((line.a, line.kind))
    alone = {
        name: several[0] for name, several in ends.items() if len(several) == 1 and name in topology.nodes
    }
    at_links = Counter(other for other, kind in alone.values() if kind == "link")
    return {
        name: other
        for name, (other, kind) in alone.items()
        if other in topology.networks or (other in topology.nodes and at_links[other] >= _MANY)
    }


def _interfaces(node: Node, planned: Mapping[str, Any]) -> list[tuple[str, str, tuple[str, ...]]]:
    """Name, network (or link) and addresses of each; without a plan only the written ones."""
    known = planned.get("nodes", {}).get(node.name, {}).get("interfaces")
    if known is not None:
        return [(each["name"], each["network"], tuple(each["addresses"])) for each in known]
    return [
        (
            each.port.name if isinstance(each.port.name, str) else "",
            each.network,
            tuple(str(address.ip) for address in each.port.addresses),
        )
        for each in node.attachments
    ]


def _node(node: Node, topology: Topology, planned: Mapping[str, Any]) -> Shape:
    interfaces = _interfaces(node, planned)
    addresses = [address for _, _, several in interfaces for address in several]
    gateways = [
        network
        for network in topology.networks.values()
        if isinstance(network.gateway, NodeGateway) and network.gateway.node == node.name
    ]
    details = [node.name, *(" ".join([name, where, *several]).strip() for name, where, several in interfaces)]
    details += [
        f"{each.host_port}/{each.protocol} of the host leads to {each.node_port}" for each in node.publish
    ]
    if node.attach:
        details.append(f"is {node.attach}")
    if isinstance(node.mode, HostMode):
        note = "the host's network"
    elif len(addresses) > 1:
        note = f"{addresses[0]} +{len(addresses) - 1}"
    else:
        note = "".join(addresses)
    return Shape(node.name, "router" if node.forward or gateways else "node", note, tuple(details))


def _network(network: Network, planned: Mapping[str, Any]) -> Shape:
    known = planned.get("networks", {}).get(network.name, {})
    subnets = known.get("subnets") or [str(each) for each in network.subnets if not isinstance(each, tuple)]
    gateway = network.gateway
    details = [f"network {network.name}", *subnets]
    if isinstance(gateway, NodeGateway):
        details.append(f"gateway: {gateway.node}")
    elif isinstance(gateway, HostGateway | ExternalGateway):
        told = " ".join(known.get("gateways", ()))
        details.append(
            f"gateway: {'the host' if isinstance(gateway, HostGateway) else 'external'} {told}".strip()
        )
    details += [word for word in ("internal", "isolated") if getattr(network, word)]
    details += [f"bridge {known['bridge']}"] if known.get("bridge") else []
    note = " ".join([*subnets, *(["internal"] if network.internal else [])])
    return Shape(network.name, "network", note, tuple(details))


def _lines(topology: Topology, planned: Mapping[str, Any]) -> Iterator[Line]:
    """The lines; a node's several interfaces on one network share one."""
    for node in topology.nodes.values():
        found: dict[str, list[str]] = {}
        for name, where, addresses in _interfaces(node, planned):
            found.setdefault(where, []).append(" ".join([name, *addresses]).strip())
        for network in dict.fromkeys(each.network for each in node.attachments):
            gateway = topology.networks[network].gateway
            is_gateway = isinstance(gateway, NodeGateway) and gateway.node == node.name
            details = (f"{node.name} on {network}", *found.get(network, ()))
            yield Line(node.name, network, "gateway" if is_gateway else "member", details)
        if isinstance(node.mode, ContainerMode):
            yield Line(node.name, node.mode.node, "namespace", (f"{node.name} is in {node.mode.node}",))
    for link in topology.links:
        a, b = (end.node for end in link.ends)
        yield Line(a, b, "link", (f"{a} to {b}", *(_end(end.node, link.name, planned) for end in link.ends)))


def _end(node: str, link: str, planned: Mapping[str, Any]) -> str:
    for each in planned.get("nodes", {}).get(node, {}).get("interfaces", ()):
        if each["network"] == link:
            return " ".join([node, each["name"], *each["addresses"]])
    return node
