"""A node: its namespace, its cables with their addresses, its routes, its loopback."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from netfab.objects.address import Address, link_local
from netfab.objects.base import HOST, KernelObject, Name, node_space
from netfab.objects.link import Settings, group_of
from netfab.objects.namespace import Namespace
from netfab.objects.sysctl import Sysctl, key_of
from netfab.objects.veth import NEW_LINK, End, Veth
from netfab.plan.facts import Facts
from netfab.plan.layout import Layout, Nic, Segment
from netfab.plan.mtu import IPV6_MTU, settings_for
from netfab.plan.names import mac_of
from netfab.topology.schema import Address as AnyAddress
from netfab.topology.schema import Bridged, Link, Node, NoneMode

if TYPE_CHECKING:
    from netfab.objects.dhcp import Dhcp
    from netfab.objects.qdisc import Qdisc

# A router may be asymmetric: no reverse path filter, whatever the host's default; flows are hashed by ports.
ROUTER_SYSCTLS = (("net/ipv4/conf/all/rp_filter", "0"), ("net/ipv4/fib_multipath_hash_policy", "1"))
ROUTER_SYSCTLS6 = (("net/ipv6/conf/all/forwarding", "1"), ("net/ipv6/fib_multipath_hash_policy", "1"))


def namespace_name(fabric: str, node: str) -> Name:
    """A node's namespace; it is /run/netns/<fabric>.<node>."""
    return Name("namespace", f"{fabric}.{node}")


def has_namespace(node: Node) -> bool:
    """Whether it has a namespace of its own, made by netfab."""
    return isinstance(node.mode, Bridged | NoneMode) and not node.attach


def namespace_of_node(fabric: str, node: Node, router: bool, ipv6: bool) -> Iterator[KernelObject]:
    """The namespace and the sysctls that can't be set per link."""
    yield Namespace(namespace_name(fabric, node.name), group_of(fabric))
    space = node_space(fabric, node.name)
    sysctls = dict(ROUTER_SYSCTLS + (ROUTER_SYSCTLS6 if ipv6 else ()) if router else ())
    sysctls |= {key_of(dotted): value for dotted, value in node.sysctls}
    yield from (Sysctl(space, key, value) for key, value in sysctls.items())


def end_of(fabric: str, nic: Nic, segment: Segment, router: bool, facts: Facts) -> End:
    """A nic as one end of a veth."""
    settings = settings_for(nic.mtu, facts, Settings(forwarding=router, accept_ra=not segment.ipv6))
    return End(Name(node_space(fabric, nic.node), nic.name), nic.mac, nic.mtu, settings=settings)


def cable_to_host(fabric: str, nic: Nic, segment: Segment, router: bool, facts: Facts) -> Veth:
    """The veth between a node and the host, whose end is the bridge's port."""
    settings = settings_for(nic.mtu, facts, NEW_LINK)
    a = End(Name(HOST, nic.host_link), mac_of(fabric, "host", nic.node, nic.name), nic.mtu, settings=settings)
    return Veth(a, end_of(fabric, nic, segment, router, facts), group_of(fabric))


def cable_between(
    fabric: str, ends: Sequence[Nic], segment: Segment, forwarding: frozenset[str], facts: Facts
) -> Veth:
    """The veth of a link."""
    a, b = sorted(end_of(fabric, nic, segment, nic.node in forwarding, facts) for nic in ends)
    return Veth(a, b, group_of(fabric))


def addresses_of(fabric: str, nic: Nic, segment: Segment) -> Iterator[Address]:
    """The nic's addresses; with IPv6 also its link-local one, since the kernel is not to generate that."""
    link = Name(node_space(fabric, nic.node), nic.name)
    for interface in nic.addresses:
        yield Address(link, interface.ip, interface.network.prefixlen)
    if segment.ipv6 and nic.mtu >= IPV6_MTU:
        yield Address(link, link_local(nic.mac), 64)


def dhcp_of(fabric: str, nic: Nic, node: Node, nics: Sequence[Nic]) -> Dhcp:
    """The client for the nic's address, and for the default route if no other nic has it."""
    from netfab.objects.dhcp import Dhcp

    gateway = nic.port.gateway or not (node.attach or any(other.port.gateway for other in nics))
    link = Name(node_space(fabric, nic.node), nic.name)
    called = node.hostname or node.name.partition(":")[2] or node.name
    hostname = "".join(c for c in called if c.isascii() and (c.isalnum() or c == "-"))[:63]  # RFC 952
    return Dhcp(link, nic.mac, nic.port.dhcp, nic.port.dhcp_options, hostname, gateway, nic.host_link)


def rate_of(fabric: str, nic: Nic) -> Qdisc:
    """The nic's send rate."""
    from netfab.objects.qdisc import Qdisc

    return Qdisc(Name(node_space(fabric, nic.node), nic.name), max(nic.port.impairment.rate // 8, 1) * 8)


def loopback_of(fabric: str, node: str, loopback: Iterable[AnyAddress]) -> Iterator[Address]:
    """Addresses on lo."""
    for address in loopback:
        yield Address(Name(node_space(fabric, node), "lo"), address, address.max_prefixlen)


def links_of(layout: Layout) -> Iterator[tuple[Segment, list[Nic]]]:
    """Each link with its nics: two, or one if the link ends on the host."""
    ends: dict[str, list[Nic]] = {}
    for nics in layout.here.values():
        for nic in nics:
            ends.setdefault(nic.segment, []).append(nic)
    for name, segment in layout.segments.items():
        if isinstance(segment.spec, Link) and segment.here:
            yield segment, ends[name]
