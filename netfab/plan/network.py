"""A network on the host: its bridge, the bridge's addresses, and the ports of its members."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address

from netfab.objects.address import Address
from netfab.objects.base import HOST, KernelObject, Name
from netfab.objects.bridge import Bridge
from netfab.objects.link import Settings, group_of
from netfab.objects.port import Port
from netfab.plan.layout import Nic, Segment
from netfab.plan.names import link_local, mac_of
from netfab.topology.schema import HostGateway, Network


def bridge_of(fabric: str, segment: Segment, network: Network, machine: str) -> Iterator[KernelObject]:
    """The host's side of a network: its bridge, and the gateway's addresses unless a router elsewhere has them."""
    link = Name(HOST, segment.bridge)
    mac = mac_of(machine, fabric, network.name)
    if not network.external:
        yield Bridge(
            link, mac, segment.mtu, group_of(fabric), settings=Settings(forwarding=forwards(network))
        )
    for interface in segment.host_addresses:
        yield Address(link, interface.ip, interface.network.prefixlen)
    if segment.ipv6 and segment.host_addresses and not network.external:
        yield Address(link, IPv6Address(link_local(mac)), 64)


def forwards(network: Network) -> bool:
    """Whether the host passes packets between this network and others: it is its gateway, and there is a way out."""
    return isinstance(network.gateway, HostGateway)


def port_of(nic: Nic, segment: Segment, network: Network) -> Port:
    """The place of a member's cable on the bridge."""
    return Port(Name(HOST, nic.host_link), Name(HOST, segment.bridge), network.isolated)
