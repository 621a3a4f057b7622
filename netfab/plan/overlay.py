"""A network's tunnel on one host: its link, and where everything on the other hosts is.

Nothing is asked or learned over the underlay: every host is told each MAC and address of the others. Or only
of its own nodes, and the hosts tell each other (evpn.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from netfab.objects.address import link_local
from netfab.objects.base import HOST, Fabric, KernelObject, Name
from netfab.objects.bridge_fdb import BridgeFdb
from netfab.objects.link import group_of
from netfab.objects.neighbour import Neighbour
from netfab.objects.port import Port
from netfab.objects.veth import NEW_LINK, End
from netfab.objects.vxlan import Vxlan
from netfab.objects.vxlan_fdb import EVERYBODY, VxlanFdb
from netfab.plan.facts import Facts
from netfab.plan.layout import Layout, Nic, Segment, tunnels_here
from netfab.plan.mtu import IPV6_MTU, settings_for
from netfab.plan.names import bridge_mac, mac_of
from netfab.plan.tunnels import Tunnel, underlay
from netfab.topology.schema import Address, Topology
from netfab.tuples import NamedTuple

_TTL = 64  # to a group; with the kernel's default of 1 packets end at the first router


class Station(NamedTuple):
    """A node or bridge on a network."""

    mac: str
    addresses: tuple[Address, ...]


Told = VxlanFdb | BridgeFdb | Neighbour  # an entry that says where a station is
FarEntries = Mapping[str, Mapping[str, Fabric]]  # by network, by host: the entries for it on other hosts


def tunnel_objects(topology: Topology, layout: Layout, facts: Facts) -> Iterator[KernelObject]:
    """The tunnel links of this host to others."""
    for segment, tunnel in tunnels_here(layout):
        yield from _link_of(topology, layout, segment, tunnel, facts)


def entries_here(layout: Layout, far: FarEntries) -> Iterator[Fabric]:
    """The entries on this host for the others on its networks."""
    for segment, _ in tunnels_here(layout):
        told = far.get(segment.name, {})
        yield from (entries for host, entries in told.items() if host != layout.host)


def _link_of(
    topology: Topology, layout: Layout, segment: Segment, tunnel: Tunnel, facts: Facts
) -> Iterator[KernelObject]:
    link, own = Name(HOST, tunnel.device), tunnel.ends[layout.host]
    device = underlay(own, facts)
    assert device is not None  # otherwise refused already (tunnels.py)
    mac = mac_of("tunnel", layout.host, topology.name, segment.name)
    group, below = group_of(topology.name), Name(HOST, device.name)
    end = End(link, mac, segment.mtu, settings=settings_for(segment.mtu, facts, NEW_LINK))
    to_all = (tunnel.multicast, _TTL) if tunnel.multicast else ()
    yield Vxlan(end, below, tunnel.vni, own, group, tunnel.port, tunnel.learning, *to_all)
    modes = {"isolated": True, "learning": tunnel.learning, "neigh_suppress": tunnel.suppress}
    yield Port(link, Name(HOST, segment.bridge), **modes)
    if tunnel.multicast:
        yield VxlanFdb(link, EVERYBODY, tunnel.multicast, below)


def far_entries(topology: Topology, layout: Layout) -> FarEntries:
    """The entries for each host, the same on all others: its tunnel endpoint, and its stations."""
    stations = _stations(topology, layout)
    found: dict[str, dict[str, Fabric]] = {}
    for name, segment in layout.segments.items():
        if (tunnel := segment.tunnel) is not None and not tunnel.by_bgp:
            found[name] = {
                host: Fabric(topology.name, _entries(segment, tunnel, host, stations[name, host]))
                for host in segment.hosts
            }
    return found


def _entries(
    segment: Segment, tunnel: Tunnel, host: str, stations: Iterable[Station]
) -> Iterator[KernelObject]:
    link, bridge = Name(HOST, tunnel.device), Name(HOST, segment.bridge)
    peer = tunnel.ends[host]
    if tunnel.multicast is None:
        yield VxlanFdb(link, EVERYBODY, peer)
    for station in () if tunnel.learning else stations:
        yield VxlanFdb(link, station.mac, peer)
        yield BridgeFdb(link, bridge, station.mac)
        for address in station.addresses:
            yield Neighbour(bridge, address, station.mac)


def _stations(topology: Topology, layout: Layout) -> Mapping[tuple[str, str], list[Station]]:
    """By network and host, its stations: the bridge first, then nodes in file order."""
    found: dict[tuple[str, str], list[Station]] = defaultdict(list)
    for name, segment in layout.segments.items():
        for host, own in segment.hosts.items():
            if own:
                mac = bridge_mac(host, topology.name, name)
                found[name, host].append(_station(mac, [interface.ip for interface in own], segment.ipv6))
    for node, nics in layout.nics.items():
        for nic in nics:
            found[nic.segment, layout.runs_on[node]].append(station_of(nic, layout.segments[nic.segment]))
    return found


def station_of(nic: Nic, segment: Segment) -> Station:
    """A node's station on a network."""
    ipv6 = segment.ipv6 and nic.mtu >= IPV6_MTU
    return _station(nic.mac, [interface.ip for interface in nic.addresses], ipv6)


def _station(mac: str, addresses: Iterable[Address], ipv6: bool) -> Station:
    return Station(mac, (*addresses, *((link_local(mac),) if ipv6 else ())))
