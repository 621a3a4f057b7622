"""What joins simulated hosts: a fabric of its own, in which each of them is a node on one wire. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_network

from netfab.objects.address import Address, address_name
from netfab.objects.base import HOST, Fabric, KernelObject, Name, node_space
from netfab.objects.bridge import Bridge
from netfab.objects.link import Settings, group_of
from netfab.objects.namespace import Namespace
from netfab.objects.neighbour import Neighbour
from netfab.objects.port import Port
from netfab.objects.route import DEFAULT_METRIC6, Hop, Route
from netfab.objects.veth import End, Veth
from netfab.plan.names import host_link, mac_of
from netfab.topology.schema import HostEntry, Topology

NAME = "underlay"  # the fabric's name; each host is /run/netns/underlay.HOST
BRIDGE = Name(HOST, "underlay")
NIC = "eth0"  # each host's interface
MTU = 1500
_LENGTHS = {4: 24, 6: 64}
_ANYWHERE = {4: (ip_network("0.0.0.0/0"), 0), 6: (ip_network("::/0"), DEFAULT_METRIC6)}


def underlay_of(topology: Topology) -> Fabric:
    """Every host of the topology, each with its address as if all were on one LAN."""
    return Fabric(NAME, _objects(topology))


def _objects(topology: Topology) -> Iterator[KernelObject]:
    yield Bridge(BRIDGE, mac_of(NAME), MTU, group_of(NAME))
    for host in topology.hosts.values():
        yield from _host(host)
        yield from _others(host, topology.hosts)


def _host(host: HostEntry) -> Iterator[KernelObject]:
    link = Name(node_space(NAME, host.name), NIC)
    port = Name(HOST, host_link(NAME, host.name, NIC))
    yield Namespace(Name("namespace", f"{NAME}.{host.name}"), group_of(NAME))
    inside = End(link, mac_of(NAME, host.name), MTU, settings=Settings(accept_ra=True))
    yield Veth(End(port, mac_of(NAME, "port", host.name), MTU), inside, group_of(NAME))
    yield Port(port, BRIDGE)
    if host.address is not None:
        length = _LENGTHS[host.address.version]
        yield Address(link, host.address, length)
        through = (address_name(link, host.address, length),)
        destination, metric = _ANYWHERE[host.address.version]
        yield Route(link.space, destination, (Hop(None, link),), metric, through)


def _others(host: HostEntry, hosts: Mapping[str, HostEntry]) -> Iterator[KernelObject]:
    """Entries for the others. Learned ones would be counted together, as the hosts share one kernel."""
    link = Name(node_space(NAME, host.name), NIC)
    for other in hosts.values():
        if other is host or other.address is None or host.address is None:
            continue
        if other.address.version == host.address.version:
            yield Neighbour(link, other.address, mac_of(NAME, other.name))
