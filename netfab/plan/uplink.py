"""Networks with an `uplink`: a NIC of the host becomes a port of the bridge, which takes its addresses.

The host's default route then leads through one of our bridges. So that the same file gives the same plan
before the move and after, planning assumes the bridge from the beginning. What is impossible is refused here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from netfab.errors import NetfabError, PlanError, Unsupported
from netfab.objects.address import IFA_ADDRESS, IFA_LOCAL
from netfab.objects.base import HOST, Name
from netfab.objects.link import CONF_FORWARDING, CONF_RP_FILTER, moved_mark
from netfab.plan.facts import Facts, FoundNic, switched
from netfab.plan.subnets import Reservation
from netfab.topology.grammar import tag_of
from netfab.topology.schema import Address, ExternalGateway, Link, Network, Planned, Topology

if TYPE_CHECKING:
    from netfab.objects.kept import KeptAddress
    from netfab.objects.original import Original
    from netfab.objects.uplink import Uplink

ETHERNET = 1  # ARPHRD_ETHER, net/if_arp.h
_HANDLERS = ("macvlan", "macvtap", "ipvlan", "ipvtap")  # like a bridge, they take all frames of a NIC


def nic_of(spec: Network | Link) -> str:
    """The NIC that is a port of the network's bridge on this host; "" = none."""
    return next((nic for host, nic in spec.uplink if not host), "") if isinstance(spec, Network) else ""


def original_of(spec: Network | Link, facts: Facts) -> Original | None:
    """That NIC's settings, from before the bridge if it is a port already."""
    nic = nic_of(spec)
    return facts.nics[nic].original if nic else None


def uplink_of(fabric: str, network: Network, bridge: str, facts: Facts) -> Iterator[Uplink]:
    """The NIC's port on the bridge.

    An ordinary port: if ports are isolated, from it, too, unless the gateway is behind it.
    """
    nic = nic_of(network)
    if nic:
        from netfab.objects.uplink import Uplink

        isolated = network.isolated and not isinstance(network.gateway, ExternalGateway)
        original = facts.nics[nic].original
        yield Uplink(nic, Name(HOST, bridge), moved_mark(fabric, nic), original, isolated)


def forwards(original: Original | None) -> bool:
    """Whether the host forwards what comes by that NIC without our help (IPv4)."""
    return bool(_setting(original, CONF_FORWARDING))


def rp_filter(original: Original | None) -> int:
    """How strict its reverse path filter is (IPv4)."""
    return _setting(original, CONF_RP_FILTER)


def _setting(original: Original | None, which: int) -> int:
    return original.conf[which - 1] if original and original.conf else 0


def held_by_host(spec: Network | Link, facts: Facts) -> Mapping[Address, str]:
    """The host's own addresses on the bridge, which no node may have."""
    original = original_of(spec, facts)
    if original is None:
        return {}
    return {address_of(kept): f"this host, on {nic_of(spec)}" for kept in original.addresses}


def with_uplinks(facts: Facts, topology: Topology) -> Facts:
    """The facts with what is behind the NICs reserved, even after the NIC has become a port of our bridge."""
    behind = [
        Reservation(ip_network(f"{address_of(kept)}/{kept.header[1]}", strict=False), holder)
        for network in topology.networks.values()
        if (original := original_of(network, facts))
        for holder in (f"routed via {nic_of(network)} on this host",)
        for kept in original.addresses
        if not address_of(kept).is_link_local
    ]
    return facts._replace(reservations=tuple(dict.fromkeys((*facts.reservations, *behind))))


def through_bridges(facts: Facts, bridges: Iterable[tuple[Network | Link, str]]) -> Facts:
    """The facts with the host's ways out as they will be: by the bridge instead of its NIC."""
    now = {nic_of(spec): bridge for spec, bridge in bridges if nic_of(spec)}
    return facts._replace(uplinks=tuple(dict.fromkeys(now.get(device, device) for device in facts.uplinks)))


def unusable(topology: Topology, facts: Facts) -> Iterator[NetfabError]:
    """Uplinks that can't be used."""
    uses = Counter(nic_of(network) for network in topology.networks.values())
    uses.update(
        link.outside.device for link in topology.links if link.outside and link.outside.kind != "host"
    )
    for network in topology.networks.values():
        nic = nic_of(network)
        if not nic:
            continue
        wrong = _unfit(nic, network, facts)
        if wrong is None and uses[nic] > 1:
            wrong = PlanError(f"{nic} can't be an uplink and be used elsewhere, too")
        if wrong is not None:
            wrong.at = network.at.of("uplink")
            yield wrong
        elif not isinstance(network.mtu, Planned) and network.mtu > facts.nics[nic].original.mtu:
            most = facts.nics[nic].original.mtu
            yield PlanError(
                f"an MTU of {network.mtu} is more than {nic} has, {most}", at=network.at.of("mtu")
            )


def _unfit(nic: str, network: Network, facts: Facts) -> NetfabError | None:
    """Why that NIC can't be used, as an error without a place."""
    if switched(network, facts):
        return on_switch(str(network.bridge), nic)
    found = facts.nics.get(nic)
    if found is None and nic in facts.barred:
        return PlanError(f"{nic} can't be an uplink: it is {facts.barred[nic]}")
    if found is None:
        base, vlan = tag_of(nic) or ("", 0)
        makes = f"`ip link add link {base} name {nic} type vlan id {vlan}` makes that VLAN of {base}"
        return PlanError(f"this host has no NIC {nic}", hint=makes if base in facts.nics else "")
    if found.moved:
        return None
    if found.master:
        return PlanError(f"{nic} is a port of {found.master}", hint=f"`ip link set {nic} nomaster` frees it")
    if found.wireless:
        return Unsupported(
            f"{nic} is wireless: an access point takes frames of no station but {nic} itself",
            hint="route instead: a network with `gateway: host` needs no uplink",
        )
    if found.hardware != ETHERNET:
        return Unsupported(f"{nic} is not Ethernet, and a bridge has no other ports")
    return _stacked(nic, network, found)


def on_switch(bridge: str, nic: str) -> Unsupported:
    """Why a bridge of Open vSwitch can't have that uplink."""
    return Unsupported(
        f"{bridge} is a bridge of Open vSwitch, to which netfab lends no NIC yet",
        hint=f"`ovs-vsctl add-port {bridge} {nic}` makes one a port that has no addresses",
    )


def _stacked(nic: str, network: Network, found: FoundNic) -> PlanError | None:
    for link in found.stacked:
        if link.kind in _HANDLERS:
            return PlanError(f"{nic} has the {link.kind} {link.name} on it, and can't be a port meanwhile")
        if link.master and link.master == network.bridge:
            return PlanError(f"{link.name}, which is on {nic}, is a port of {link.master}: that is a loop")
    return None


def warnings(topology: Topology, facts: Facts) -> Iterator[str]:
    """What changes when it is moved."""
    for network in topology.networks.values():
        original = original_of(network, facts)
        if original is None:
            continue
        nic = nic_of(network)
        if not original.up:
            yield f"{nic} is down; as an uplink it is set up"
        for kept in original.addresses:
            if kept.lapses and kept.header[0] == 2:  # AF_INET
                yield (
                    f"{address_of(kept)} of {nic} is leased: its DHCP client, which renews it, has to serve "
                    f"{network.bridge if isinstance(network.bridge, str) else 'the bridge'} from now on"
                )


def address_of(kept: KeptAddress) -> Address:
    """The address itself."""
    found = dict(kept.attrs)
    return ip_address(bytes.fromhex(found.get(IFA_LOCAL) or found[IFA_ADDRESS]))
