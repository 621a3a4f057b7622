"""A network's tunnel on one host: its link, and where everybody on the other hosts is.

Nothing is asked or learned over the underlay: every host is told of each MAC and address of the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from netfab.objects.address import link_local
from netfab.objects.base import HOST, KernelObject, Name
from netfab.objects.bridge_fdb import BridgeFdb
from netfab.objects.link import group_of
from netfab.objects.neighbour import Neighbour
from netfab.objects.port import Port
from netfab.objects.veth import NEW_LINK, End
from netfab.objects.vxlan import Vxlan
from netfab.objects.vxlan_fdb import EVERYBODY, VxlanFdb
from netfab.plan.facts import Facts
from netfab.plan.layout import Layout, Segment
from netfab.plan.mtu import IPV6_MTU, settings_for
from netfab.plan.names import bridge_mac, mac_of
from netfab.plan.tunnels import Tunnel, underlay
from netfab.topology.schema import Address, Topology


class Station(NamedTuple):
    """Somebody on a network, on another host."""

    host: str
    mac: str
    addresses: tuple[Address, ...]


def tunnels_here(layout: Layout) -> list[tuple[Segment, Tunnel]]:
    """The networks on the layout's host that go to others."""
    return [
        (segment, segment.tunnel)
        for segment in layout.segments.values()
        if segment.tunnel is not None and segment.here
    ]


def peers_of(topology: Topology, layout: Layout, segment: Segment) -> dict[str, Address]:
    """The addresses of the other hosts that it is on."""
    others = (topology.hosts[host] for host in segment.hosts if host != layout.host)
    return {host.name: host.address for host in others if host.address is not None}


def tunnel_objects(topology: Topology, layout: Layout, facts: Facts) -> Iterator[KernelObject]:
    """All that leads from this host to others."""
    here = tunnels_here(layout)
    far = _stations(topology, layout) if here else {}
    for segment, tunnel in here:
        yield from _link_of(topology, layout, segment, tunnel, facts)
        yield from _entries(topology, layout, segment, tunnel, far.get(segment.name, []))


def _link_of(
    topology: Topology, layout: Layout, segment: Segment, tunnel: Tunnel, facts: Facts
) -> Iterator[KernelObject]:
    link, own = Name(HOST, tunnel.device), topology.hosts[layout.host]
    device = underlay(own, facts)
    assert device is not None
    assert own.address is not None  # else it was refused (tunnels.py)
    mac = mac_of("tunnel", layout.host, topology.name, segment.name)
    group, below = group_of(topology.name), Name(HOST, device.name)
    end = End(link, mac, segment.mtu, settings=settings_for(segment.mtu, facts, NEW_LINK))
    yield Vxlan(end, below, tunnel.vni, own.address, group, tunnel.port, tunnel.learning)
    modes = {"isolated": True, "learning": tunnel.learning, "neigh_suppress": tunnel.suppress}
    yield Port(link, Name(HOST, segment.bridge), **modes)


def _entries(
    topology: Topology, layout: Layout, segment: Segment, tunnel: Tunnel, stations: Iterable[Station]
) -> Iterator[KernelObject]:
    link, bridge = Name(HOST, tunnel.device), Name(HOST, segment.bridge)
    peers = peers_of(topology, layout, segment)
    for peer in peers.values():
        yield VxlanFdb(link, EVERYBODY, peer)
    for station in () if tunnel.learning else stations:
        yield VxlanFdb(link, station.mac, peers[station.host])
        yield BridgeFdb(link, bridge, station.mac)
        for address in station.addresses:
            yield Neighbour(bridge, address, station.mac)


def _stations(topology: Topology, layout: Layout) -> Mapping[str, list[Station]]:
    """By network, who is on it on other hosts: their bridges first, then nodes in file order."""
    found: dict[str, list[Station]] = {name: [] for name in layout.segments}
    for name, segment in layout.segments.items():
        for host, own in segment.hosts.items():
            if host != layout.host and own:
                mac = bridge_mac(host, topology.name, name)
                found[name].append(_station(host, mac, [interface.ip for interface in own], segment.ipv6))
    for node, nics in layout.nics.items():
        for nic in () if layout.has(node) else nics:
            ipv6 = layout.segments[nic.segment].ipv6 and nic.mtu >= IPV6_MTU
            addresses = [interface.ip for interface in nic.addresses]
            found[nic.segment].append(_station(layout.runs_on[node], nic.mac, addresses, ipv6))
    return found


def _station(host: str, mac: str, addresses: Iterable[Address], ipv6: bool) -> Station:
    return Station(host, mac, (*addresses, *((link_local(mac),) if ipv6 else ())))
