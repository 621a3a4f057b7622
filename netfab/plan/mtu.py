"""The MTU of a segment and of a port, in bytes, and whether IPv6 fits into it."""

from __future__ import annotations

from netfab.objects.link import Settings
from netfab.plan.facts import Facts, nic_below
from netfab.plan.uplink import original_of
from netfab.topology.schema import Link, Network, Planned, Port

IPV6_MTU = 1280  # a link with less has no IPv6 (RFC 8200, section 5)


def segment_mtu(spec: Network | Link, facts: Facts) -> int:
    """As written, else the NIC's, or the egress device's, at least enough for IPv6."""
    if isinstance(spec, Network) and not isinstance(spec.mtu, Planned):
        return spec.mtu
    if isinstance(spec, Link) and spec.outside is not None and spec.outside.kind != "host":
        return facts.nics[nic_below(spec.outside.device, facts.nics)[0]].original.mtu
    if original := original_of(spec, facts):
        return original.mtu
    return max(facts.mtu, IPV6_MTU)


def port_mtu(port: Port, segment: int) -> int:
    """As written, else the segment's."""
    return segment if isinstance(port.mtu, Planned) else port.mtu


def settings_for(mtu: int, facts: Facts, wanted: Settings) -> Settings:
    """The settings of a link with that MTU on that host."""
    return wanted if facts.ipv6 and mtu >= IPV6_MTU else wanted.without_ipv6()
