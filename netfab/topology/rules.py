"""Rules of addresses, interfaces and ports: entries that are valid alone but conflict with each other.

What only the host can tell (a subnet that is taken, a busy port) is the planner's business.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from netfab.errors import Location, TopologyError
from netfab.topology.network import unusable
from netfab.topology.schema import (
    PLANNED,
    Address,
    Bridged,
    ExternalGateway,
    HostGateway,
    Interface,
    Link,
    Network,
    Node,
    NodeGateway,
    Places,
    Port,
    Prefix,
    Publish,
    SubnetSpec,
    Topology,
)
from netfab.topology.unread import Unread


def contradictions(topology: Topology, unread: Unread) -> Iterator[TopologyError]:
    """Contradictions between entries; unreadable keys are left out of account."""
    nodes, networks = list(topology.nodes.values()), topology.networks
    yield from _bridges(networks, unread)
    yield from _gateways(networks, topology.nodes)
    yield from _addresses(networks, topology.nodes, unread)
    for link in topology.links:
        yield from _link_addresses(link)
    yield from _interfaces(nodes, topology.links)
    yield from _published(nodes, networks, topology.links, unread)


def _bridges(networks: Mapping[str, Network], unread: Unread) -> Iterator[TopologyError]:
    """A bridge belongs to one network, unless it is external."""
    first: dict[str, Network] = {}
    for network in networks.values():
        if network.bridge is PLANNED or unread.any_of(network, "external"):
            continue
        other = first.setdefault(network.bridge, network)
        if other is not network and not (other.external and network.external):
            at = network.at.of("bridge")
            yield TopologyError(
                f"the bridge {network.bridge} is {other.name}'s, at {other.at.of('bridge')}", at=at
            )


def _gateways(networks: Mapping[str, Network], nodes: Mapping[str, Node]) -> Iterator[TopologyError]:
    """A node that is a gateway needs an interface with an address on the network."""
    for network in networks.values():
        if not isinstance(network.gateway, NodeGateway) or network.gateway.node not in nodes:
            continue
        node, at = nodes[network.gateway.node], network.at.of("gateway")
        if type(node.mode) is not Bridged:
            yield TopologyError(
                f"{node.name} has no network of its own (`mode:` at {node.at.of('mode')})", at=at
            )
        elif node.attach:
            yield TopologyError(
                f"{node.name} is run by somebody else (`attach`) and can't be a gateway", at=at
            )
        for attachment in node.attachments:
            if attachment.network == network.name and (attachment.port.no_address or attachment.port.dhcp):
                yield TopologyError(
                    f"{node.name} is the gateway of {network.name} and needs an address there",
                    at=attachment.at.of("ip"),
                )


def _addresses(
    every_network: Mapping[str, Network], nodes: Mapping[str, Node], unread: Unread
) -> Iterator[TopologyError]:
    """Written addresses must be in their network's subnet, and unique."""
    networks = {
        name: network
        for name, network in every_network.items()
        if not unread.any_of(network, "subnet", "ipv6", "gateway", "external")
    }
    written = [
        (networks[attachment.network], node.name, attachment)
        for node in nodes.values()
        if node.base == node.name or not unread.any_of(node, "networks")  # `scale` and `ip` are reported once
        for attachment in node.attachments
        if attachment.port.addresses and attachment.network in networks
    ]
    settled = {(network.name, node) for network, node, _ in written}
    settled |= {
        (attachment.network, node.name)
        for node in nodes.values()
        if unread.any_of(node, "networks")
        for attachment in node.attachments
    }
    taken: dict[tuple[str, Address], tuple[str, Location | None]] = {
        (network.name, address): (holder, None)
        for network in networks.values()
        for address, holder in _gateway_addresses(network, settled)
    }
    for network, node, attachment in written:
        at = attachment.at.of("ip")
        for interface in attachment.port.addresses:
            if message := _misplaced(interface, attachment.port.plain, network.name, network.subnets):
                yield TopologyError(message, at=at)
            own = f"{node}'s", at
            holder, place = taken.setdefault((network.name, interface.ip), own)
            if (holder, place) != own:
                held = f"{holder} (at {place})" if place else holder
                yield TopologyError(f"{interface.ip} is {held} on {network.name}; choose another", at=at)


def _gateway_addresses(
    network: Network, settled: Collection[tuple[str, str]]
) -> Iterator[tuple[Address, str]]:
    """The addresses that the network's gateway takes. settled: networks and nodes with a written address."""
    gateway = network.gateway
    if isinstance(gateway, ExternalGateway) or (isinstance(gateway, HostGateway) and gateway.addresses):
        yield from ((address, "the gateway's") for address in gateway.addresses)
    elif isinstance(gateway, HostGateway) and not network.external:
        yield from (
            (address, "the bridge's (`gateway:` may give it another)") for address in _first_usable(network)
        )
    elif isinstance(gateway, NodeGateway) and (network.name, gateway.node) not in settled:
        yield from ((address, f"the gateway {gateway.node}'s") for address in _first_usable(network))


def _first_usable(network: Network) -> Iterator[Address]:
    for subnet in network.subnets:
        if not isinstance(subnet, SubnetSpec):
            yield subnet[1] if unusable(subnet[0], subnet) else subnet[0]


def _misplaced(
    interface: Interface, plain: bool, where: str, subnets: tuple[Prefix | SubnetSpec, ...]
) -> str:
    """Errors of a written address on these subnets; for planned subnets the planner checks."""
    for subnet in subnets:
        if subnet.version == interface.version:
            if isinstance(subnet, SubnetSpec):
                return ""
            if message := unusable(interface.ip, subnet):
                return message
            if not plain and interface.network.prefixlen != subnet.prefixlen:
                return f"{interface} has another length than its subnet {subnet}; write `{interface.ip}`"
            return ""
    family = f"IPv{interface.version}"
    return f"{interface.ip} is an {family} address, and {where} has no {family} subnet"


def _link_addresses(link: Link) -> Iterator[TopologyError]:
    """A link's addresses must be in its subnets, and its ends' differ."""
    taken: set[Address] = set()
    for end in link.ends:
        at = end.at.of("ip")
        for interface in end.port.addresses:
            if message := _misplaced(interface, end.port.plain, "the link", link.subnets):
                yield TopologyError(message, at=at)
            if interface.ip in taken:
                yield TopologyError(f"{interface.ip} is the other end's too; choose another", at=at)
            taken.add(interface.ip)


def _interfaces(nodes: list[Node], links: tuple[Link, ...]) -> Iterator[TopologyError]:
    """An interface's name is unique in a node, and at most one port has the default route."""
    ports: dict[str, list[tuple[Port, Places]]] = {}
    for link in links:
        for end in link.ends:
            ports.setdefault(end.node, []).append((end.port, end.at))
    for node in nodes:
        own = [(attachment.port, attachment.at) for attachment in node.attachments]
        own += ports.get(node.name, ())
        first: dict[str, Places] = {}
        chosen: Places | None = None
        for port, at in own:
            if port.name is not PLANNED and (other := first.setdefault(port.name, at)) is not at:
                message = f"{node.name} has an interface {port.name} already, at {other.of('name')}"
                yield TopologyError(message, at=at.of("name"))
            if port.gateway and chosen:
                message = f"{node.name} has its default route already, at {chosen.of('gateway')}"
                yield TopologyError(message, at=at.of("gateway"))
            chosen = at if port.gateway else chosen


def _published(
    nodes: list[Node], networks: Mapping[str, Network], links: tuple[Link, ...], unread: Unread
) -> Iterator[TopologyError]:
    """A port of the host is published once, and by a node that the host can reach."""
    linked = {end.node for link in links for end in link.ends}
    taken: dict[tuple[tuple[str, ...], str, int], list[tuple[Node, Publish]]] = {}
    for node in nodes:
        if not node.publish or len(node.runs_on) > 1 or unread.any_of(node, "runs_on"):
            continue  # with several hosts, the planner decides
        joined = [networks.get(attachment.network) for attachment in node.attachments]
        maybe_reached = unread.links or unread.any_of(node, "networks", "publish", "mode")
        internal = all(network and network.internal for network in joined)
        if node.name not in linked and internal and not maybe_reached:
            why = "is on internal networks only" if joined else "is on no network"
            yield TopologyError(f"{node.name} {why}, so nothing can be published", at=node.at.of("publish"))
        for publish in node.publish:
            others = taken.setdefault((node.runs_on, publish.protocol, publish.host_port), [])
            for other, held in others:
                if _overlap(publish.host_address, held.host_address):
                    port = f"{publish.host_port}/{publish.protocol}"
                    where = f", at {held.at}" if held.at.file else ""  # of `run`: in no file
                    yield TopologyError(f"{port} is published by {other.name} already{where}", at=publish.at)
                    break
            others.append((node, publish))


def _overlap(one: Address | None, other: Address | None) -> bool:
    """Whether two host addresses (None: all) overlap; an unspecified one is all of its family."""
    if one is None or other is None or one == other:
        return True
    return one.version == other.version and (one.is_unspecified or other.is_unspecified)
