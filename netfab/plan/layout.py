"""Everything that is chosen before a single object is made: subnets, addresses, names, MACs, MTUs.

Holds what is leased, checks what is written, and takes what is free; says which leases the plan wants. Routes are
routing.py's, objects are network.py's and node.py's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from netfab.errors import NetfabError, raise_all
from netfab.plan.addresses import Addresses
from netfab.plan.assign import addresses_of, gateways_of, loopbacks_of, node_gateways, range_of
from netfab.plan.facts import Facts, Lease
from netfab.plan.names import bridge_name, host_link, mac_of
from netfab.plan.prefixes import Prefixes, choose_prefixes
from netfab.plan.seats import Seat, host_reach, refuse_crowds, seats_of, wishes
from netfab.topology.schema import (
    PLANNED,
    Address,
    Interface,
    Link,
    Network,
    NodeGateway,
    Planned,
    Port,
    Prefix,
    Topology,
)

MIN_MTU = 1280


class Segment(NamedTuple):
    """One network or link."""

    name: str
    wish: Network | Link
    bridge: str  # "" on a link
    prefixes: tuple[Prefix, ...]  # at most one per family
    host_addresses: tuple[Interface, ...]  # the bridge's
    gateways: tuple[Address, ...]  # what its members' default routes point at, one per family; () = none
    mtu: int
    with_host: bool  # the host is on it, or routes to it

    @property
    def ipv6(self) -> bool:
        """Whether IPv6 is on: with a prefix, or, without IPv4, link-local only."""
        return all(prefix.version == 6 for prefix in self.prefixes) or len(self.prefixes) > 1


class Nic(NamedTuple):
    """A node's interface, with everything chosen."""

    node: str
    name: str
    segment: str
    port: Port
    mac: str
    mtu: int
    addresses: tuple[Interface, ...]
    host_link: str  # the host's end; "" on a link


class Layout(NamedTuple):
    """What is chosen."""

    segments: Mapping[str, Segment]
    nics: Mapping[str, tuple[Nic, ...]]  # by node, in the order of their interfaces
    loopbacks: Mapping[str, tuple[Address, ...]]
    wants: frozenset[Lease]
    prefixes: Prefixes


def lay_out(topology: Topology, leases: Iterable[Lease], facts: Facts) -> Layout:
    """Choose. Raises PlanError and its kin, all that is found at once."""
    held = {(lease.kind, lease.key): lease.value for lease in leases}
    seats = seats_of(topology)
    by_segment: dict[str, list[Seat]] = defaultdict(list)
    for seat in seats:
        by_segment[seat.segment].append(seat)
    refuse_crowds(topology, by_segment)
    reach = host_reach(topology)
    prefixes = choose_prefixes(topology, by_segment, reach, held, facts)
    wants = set(prefixes.wants())
    segments: dict[str, Segment] = {}
    addresses: dict[str, tuple[Interface, ...]] = {}
    taken = set(facts.links) | {n.bridge for n in topology.networks.values() if n.bridge is not PLANNED}
    errors: list[NetfabError] = []
    for name, wish in wishes(topology):
        try:
            pools = [Addresses(prefix, range_of(wish, prefix)) for prefix in prefixes.of(name)]
            host, gateways = gateways_of(wish, pools)
            chosen = addresses_of(by_segment[name], wish, pools, held, wants)
        except NetfabError as error:
            errors.append(error)
            continue
        addresses |= chosen
        bridge = ""
        if isinstance(wish, Network):
            bridge = _bridge(topology.name, wish, held, taken)
            wants.add(Lease("bridge", name, bridge))
            if isinstance(wish.gateway, NodeGateway):
                gateways = node_gateways(wish.gateway.node, by_segment[name], chosen)
        mtu = _mtu(wish, facts)
        segments[name] = Segment(
            name, wish, bridge, tuple(prefixes.of(name)), host, gateways, mtu, name in reach
        )
    raise_all(errors)
    loopbacks = loopbacks_of(topology, held, facts, wants)
    nics: dict[str, list[Nic]] = {node: [] for node in topology.nodes}
    for seat in seats:
        nics[seat.node].append(_nic(topology, seat, segments[seat.segment], addresses[seat.key]))
    by_node = {node: tuple(of) for node, of in nics.items()}
    return Layout(segments, by_node, loopbacks, frozenset(wants), prefixes)


def _mtu(wish: Network | Link, facts: Facts) -> int:
    """As written, else the egress device's, and enough for IPv6 (RFC 8200, section 5)."""
    if isinstance(wish, Network) and not isinstance(wish.mtu, Planned):
        return wish.mtu
    return max(facts.mtu, MIN_MTU)


def _bridge(fabric: str, network: Network, held: Mapping[tuple[str, str], str], taken: set[str]) -> str:
    if not isinstance(network.bridge, Planned):
        return network.bridge
    leased = held.get(("bridge", network.name))
    name = leased if leased and leased not in taken else bridge_name(fabric, network.name, taken)
    taken.add(name)
    return name


def _nic(topology: Topology, seat: Seat, segment: Segment, addresses: tuple[Interface, ...]) -> Nic:
    fabric, port = topology.name, seat.port
    mac = mac_of(fabric, seat.node, seat.name) if isinstance(port.mac, Planned) else port.mac
    mtu = segment.mtu if isinstance(port.mtu, Planned) else port.mtu
    host = "" if isinstance(segment.wish, Link) else host_link(fabric, seat.node, seat.name)
    return Nic(seat.node, seat.name, seat.segment, port, mac, mtu, addresses, host)
