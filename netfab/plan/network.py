"""A network on the host: its bridge, the bridge's addresses, and the ports of its members."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator
from typing import TYPE_CHECKING

from netfab.objects.address import Address, link_local
from netfab.objects.base import HOST, KernelObject, Name
from netfab.objects.borrowed import Borrowed
from netfab.objects.bridge import Bridge
from netfab.objects.filtering import Filtering
from netfab.objects.firewall import table_name
from netfab.objects.link import Settings, group_of
from netfab.objects.port import Port
from netfab.plan.facts import Facts, switched
from netfab.plan.layout import Layout, Nic, Segment
from netfab.plan.mtu import settings_for
from netfab.plan.names import EVERYWHERE, bridge_mac
from netfab.plan.seats import host_is_gateway
from netfab.plan.uplink import forwards, nic_of, original_of, rp_filter, uplink_of
from netfab.topology.schema import Link, Network, NodeGateway

if TYPE_CHECKING:
    from netfab.objects.ovsport import OvsPort
    from netfab.objects.passage import Passage


def bridge_of(fabric: str, segment: Segment, network: Network, facts: Facts) -> Iterator[KernelObject]:
    """The host's side of a network: its bridge, and the gateway's addresses unless a router has them.

    A bridge of somebody else is not changed.
    """
    yield from uplink_of(fabric, network, segment.bridge, facts)
    link = Name(HOST, segment.bridge)
    if network.external:
        return
    if network.openvswitch and facts.openvswitch:
        there = facts.openvswitch.bridges.get(segment.bridge, facts.openvswitch.datapath)
        from netfab.objects.ovsbridge import OvsBridge

        yield OvsBridge(link, there, fabric)
        return
    original = original_of(network, facts)
    mac = segment.station or bridge_mac(facts.machine, fabric, network.name)
    here = host_is_gateway(network)
    settings = Settings(
        forwarding=here or forwards(original),
        rp_filter=rp_filter(original),
        forwarding6=here and segment.ipv6 and forces(facts),
        accept_ra=bool(original and original.accept_ra),
    )
    settings = settings_for(segment.mtu, facts, settings)
    yield Bridge(link, mac, segment.mtu, group_of(fabric), settings=settings)
    for interface in segment.host_addresses:
        yield Address(link, interface.ip, interface.network.prefixlen)
    if segment.ipv6 and segment.host_addresses:
        yield Address(link, link_local(mac), 64)


def filtering_for(layout: Layout) -> Iterator[Filtering]:
    """VLAN filtering, for our bridges with ports in VLANs."""
    tagged = {nic.segment for nics in layout.nics.values() for nic in nics if nic.port.vlan}
    for segment in layout.segments.values():
        spec = segment.spec
        ours = isinstance(spec, Network) and not (spec.external or spec.openvswitch)
        if ours and segment.here and segment.name in tagged:
            yield Filtering(Name(HOST, segment.bridge))


def for_published(thing: KernelObject, localnet: Container[str], hairpins: Container[str]) -> KernelObject:
    """For published ports: bridges accept packets from 127.0.0.1, ports are in hairpin mode."""
    if isinstance(thing, Bridge) and thing.link.text in localnet:
        return thing._replace(settings=thing.settings._replace(route_localnet=True))
    if isinstance(thing, Port) and thing.link.text in hairpins:
        return thing._replace(hairpin=True)
    return thing


def leads_out(segment: Segment) -> bool:
    """Whether the host forwards packets between that segment and the outside."""
    return host_is_gateway(segment.spec) and isinstance(segment.spec, Network) and not segment.spec.internal


def families_out(segments: Iterable[Segment]) -> set[int]:
    """The families in which the host forwards packets between these networks and the outside."""
    return {prefix.version for segment in segments if leads_out(segment) for prefix in segment.prefixes}


def for_ways_out(thing: KernelObject, segments: Collection[Segment], facts: Facts) -> KernelObject:
    """For ways out: a bridge that is the host's way out forwards the answers."""
    if isinstance(thing, Bridge) and thing.link.text in facts.uplinks:
        families, settings = families_out(segments), thing.settings
        return thing._replace(
            settings=settings._replace(
                forwarding=settings.forwarding or 4 in families,
                forwarding6=settings.forwarding6 or (6 in families and forces(facts)),
            )
        )
    return thing


def _is_external(spec: Network | Link) -> bool:
    return isinstance(spec, Network) and bool(spec.external)


def borrowed_for(segments: Collection[Segment], facts: Facts) -> Iterator[Borrowed]:
    """Sysctls of the host that forwarding to the outside changes: those of its uplinks.

    Never the global one of IPv4; that of IPv6 if the kernel has no switch per interface (before 6.17).
    """
    own = {segment.bridge for segment in segments if nic_of(segment.spec) and not _is_external(segment.spec)}
    devices = [device for device in facts.uplinks if device not in own]  # our own have them set
    return switched_off(devices, families_out(segments), facts)


def switched_off(devices: Iterable[str], families: Collection[int], facts: Facts) -> Iterator[Borrowed]:
    """What must be enabled for ways out by these devices, in these families, and is not."""
    wanted: list[tuple[str, str]] = []
    for device in devices:
        if 4 in families:
            wanted.append((f"net/ipv4/conf/{device}/forwarding", "1"))
        if 6 in families and forces(facts):
            wanted.append((f"net/ipv6/conf/{device}/force_forwarding", "1"))
        elif 6 in families:
            # Otherwise forwarding ends the uplink's own autoconfiguration.
            wanted.append((f"net/ipv6/conf/{device}/accept_ra", "2"))
    if 6 in families and not forces(facts):
        wanted.append(("net/ipv6/conf/all/forwarding", "1"))
    for key, value in wanted:
        original = facts.sysctls.get(key, value)
        if original != value:
            yield Borrowed(key, value, original)


def opened(borrowed: Iterable[Borrowed]) -> dict[int, list[str]]:
    """By family, the interfaces of the host for which these enable forwarding."""
    found: dict[int, list[str]] = {4: [], 6: []}
    for thing in borrowed:
        _, family, _, device, switch = thing.key.split("/")
        if switch in ("forwarding", "force_forwarding"):
            found[int(family[-1])].append(EVERYWHERE if device == "all" else device)
    return found


def passages(fabric: str, segments: Iterable[Segment], facts: Facts) -> Iterator[Passage]:
    """Rules in Docker's forward chain, which drops by default, for networks that lead out."""
    if not facts.docker:
        return
    from netfab.objects.passage import Passage

    for segment in segments:
        if leads_out(segment):
            for family in facts.docker:
                if any(f"ip{'' if prefix.version == 4 else 6}" == family for prefix in segment.prefixes):
                    for uplink in facts.uplinks:
                        yield Passage(family, segment.bridge, uplink, table_name(fabric))


def forces(facts: Facts) -> bool:
    """Whether IPv6 forwarding can be enabled for single interfaces here."""
    return "net/ipv6/conf/all/force_forwarding" in facts.sysctls


def port_of(fabric: str, nic: Nic, segment: Segment, network: Network, facts: Facts) -> Port | OvsPort:
    """A member's port on the bridge. The gateway's is never isolated: everybody talks to it."""
    link, bridge = Name(HOST, nic.host_link), Name(HOST, segment.bridge)
    if switched(network, facts):
        from netfab.objects.ovsport import OvsPort

        return OvsPort(link, bridge, fabric, nic.port.vlan)
    isolated = network.isolated and network.gateway != NodeGateway(nic.node)
    return Port(link, bridge, isolated, vlan=nic.port.vlan)
