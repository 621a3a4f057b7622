"""The tunnel of a network on several hosts: its VNI, port and MTU. Refuses what the underlay can't carry.

Its objects are in overlay.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network

from netfab.errors import NetfabError, PlanError, raise_all
from netfab.objects.digest import digest
from netfab.plan.facts import Device, Facts
from netfab.plan.leases import Lease
from netfab.plan.mtu import IPV6_MTU
from netfab.plan.overhead import overlay_mtu
from netfab.plan.runs_on import Placement
from netfab.plan.speakers import by_bgp, dumb
from netfab.topology.schema import PLANNED, Address, HostEntry, Network, Planned, Port, Topology
from netfab.tuples import NamedTuple

_GROUPS, _GROUPS6 = IPv4Network("239.192.0.0/14"), IPv6Network("ff18::/96")
VNIS = range(1, 1 << 24)


class Tunnel(NamedTuple):
    """A network's tunnel: what is the same on every host."""

    vni: int
    port: int
    mtu: int  # inner
    learning: bool  # no station is written down: MACs may move, or by `control`
    suppress: bool  # bridges answer ARP/ND for stations on other hosts
    ends: Mapping[str, Address]  # by host, its address on the underlay
    multicast: Address | None  # a group that all of them join; None: each gets its own copy
    by_bgp: bool = False  # hosts tell each other who is where: no peer is written down
    encrypted: bool = False

    @property
    def device(self) -> str:
        """The name of its link, on every host; VNIs are unique."""
        return f"vx{self.vni}"


def tunnels_of(
    topology: Topology, placement: Placement, facts: Mapping[str, Facts], leases: Iterable[Lease]
) -> dict[str, Tunnel]:
    """The tunnel of each network on several hosts. Raises PlanError, with all errors at once.

    `facts` of a host that can't be reached may be missing.
    """
    spanning = {
        network.name: network
        for network in topology.networks.values()
        if len(placement.segments[network.name]) > 1 and network.vxlan is not None
    }
    used = dict.fromkeys(host for name in spanning for host in placement.segments[name])
    raise_all(_unfit_hosts(topology, used, facts))
    raise_all(dumb(topology, placement.segments, facts))
    errors: list[NetfabError] = []
    mtus: dict[str, int] = {}
    for name, network in spanning.items():
        hosts = [topology.hosts[host] for host in placement.segments[name]]
        errors += _two_families(network, hosts)
        errors += _without_multicast(network, hosts, facts)
        mtus[name] = _inner_mtu(network, hosts, facts)
        errors += _wrong_mtu(network, mtus[name], hosts)
    held = {lease.key: int(lease.value) for lease in leases if lease.kind == "vni"}
    vnis = _vnis(topology, spanning, held, facts, errors)
    raise_all(errors)
    found = {}
    for name, network in spanning.items():
        ports = [a.port for node in topology.nodes.values() for a in node.attachments if a.network == name]
        by_group = network.vxlan is not None and network.vxlan.control == "multicast"
        lan = bool(network.uplink)  # its stations are unknown
        learning = by_group or ((lan or any(map(_moves, ports))) and not by_bgp(network))
        quiet = not (by_group or lan or any(port.allow or port.spoof == "allow" for port in ports))
        assert network.vxlan is not None
        hosts = [topology.hosts[host] for host in placement.segments[name]]
        ends = {host.name: host.address for host in hosts if host.address}
        group = multicast_group(topology.name, next(iter(ends.values())).version) if by_group else None
        bgp, port = by_bgp(network), network.vxlan.port
        ways = learning, quiet, ends, group, bgp, network.encrypt
        found[name] = Tunnel(vnis[name], port, mtus[name], *ways)
    return found


def multicast_group(fabric: str, version: int) -> Address:
    """A fabric's multicast group: a host can join 20 by default, so there is one for all VNIs.

    Another fabric's may be the same, at the cost of what is then dropped by its VNI. From the
    organisation-local scope (RFC 2365, section 6.2; RFC 7346): forwarded by its routers and no further.
    """
    number = int.from_bytes(digest(fabric.encode())[:4], "big")
    return _GROUPS[number % _GROUPS.num_addresses] if version == 4 else _GROUPS6[number]


def _moves(port: Port) -> bool:
    """Whether it may send from a MAC that others have, too."""
    return port.spoof == "allow" or any(len(word) == 17 and word.count(":") == 5 for word in port.allow)


def underlay(address: Address | None, facts: Facts) -> Device | None:
    """The link with the host's address."""
    return next((device for device in facts.devices if address in device.addresses), None)


def _unfit_hosts(topology: Topology, used: Iterable[str], facts: Mapping[str, Facts]) -> Iterator[PlanError]:
    """Hosts that can't be a tunnel's end: without an address, with another's, or missing."""
    holders: dict[object, str] = {}
    for name in used:
        host = topology.hosts[name]
        at = host.at.of("address")
        if host.address is None:
            yield PlanError(
                f"{name} has networks in common with others, and no `address` to reach it at", at=at
            )
            continue
        other = holders.setdefault(host.address, name)
        for twin, there in facts.items():
            if topology.hosts[twin].address not in (None, host.address) and underlay(host.address, there):
                other = twin
        if other != name:
            yield PlanError(
                f"{host.address} of {name} is an address of {other}, too: all would come to it twice",
                at=at,
            )
        elif name in facts and underlay(host.address, facts[name]) is None:
            have = ", ".join(str(a) for device in facts[name].devices for a in device.addresses) or "none"
            yield PlanError(
                f"{name} has no interface with {host.address}", at=at, hint=f"its addresses are {have}"
            )


def _two_families(network: Network, hosts: list[HostEntry]) -> Iterator[PlanError]:
    first = hosts[0]
    for host in hosts[1:]:
        if host.address and first.address and host.address.version != first.address.version:
            message = (
                f"{network.name} is on {first.name} at {first.address} and {host.name} at {host.address}"
            )
            yield PlanError(
                message, at=network.at.own, hint="all addresses of its hosts must be of one family"
            )
            return


def _without_multicast(
    network: Network, hosts: list[HostEntry], facts: Mapping[str, Facts]
) -> Iterator[PlanError]:
    """`control: multicast` over an interface without it, such as other tunnels."""
    if network.vxlan is None or network.vxlan.control != "multicast":
        return
    for host in hosts:
        device = underlay(host.address, facts[host.name]) if host.name in facts else None
        if device is not None and not device.multicast:
            message = (
                f"{network.name} is flooded by multicast, which {device.name} of {host.name} does not do"
            )
            yield PlanError(message, at=network.at.of("vxlan"), hint="leave `control` out")


def _inner_mtu(network: Network, hosts: list[HostEntry], facts: Mapping[str, Facts]) -> int:
    """The smallest of all; for hosts that can't be reached it is unknown."""
    found = [
        overlay_mtu(device.mtu, host.address.version, network.encrypt)
        for host in hosts
        if host.address and host.name in facts and (device := underlay(host.address, facts[host.name]))
    ]
    return min(found, default=overlay_mtu(1500, 6, network.encrypt))


def _wrong_mtu(network: Network, most: int, hosts: list[HostEntry]) -> Iterator[PlanError]:
    if not isinstance(network.mtu, Planned):
        if network.mtu > most:
            message = (
                f"an MTU of {network.mtu} is more than {most}, which goes between the hosts of {network.name}"
            )
            yield PlanError(message, at=network.at.of("mtu"), hint="leave `mtu` out")
    elif most < IPV6_MTU:
        between = ", ".join(host.name for host in hosts)
        message = f"{most} bytes go between the hosts of {network.name} ({between}), less than {IPV6_MTU}"
        yield PlanError(message, at=network.at.own, hint=f"write `mtu: {most}` if that is what you want")


def vni_key(network: Network) -> str:
    """The key of a network's VNI lease.

    FRR removes its own entries in a tunnel when it ends: another `control` therefore gets another tunnel.
    """
    return _by_bgp(network.name) if by_bgp(network) else network.name


def _still_of_another_control(
    network: Network, vni: int | Planned | None, held: Mapping[str, int]
) -> Iterator[PlanError]:
    """The entries in the existing tunnel would conflict with the new one's."""
    at = network.at.of("vxlan") if "vxlan" in network.at.keys else network.at.own
    before = held.get(network.name if by_bgp(network) else _by_bgp(network.name))
    if before is not None and before == vni:
        message = f"VNI {vni} of {network.name} is that of its tunnel by another `control`"
        yield PlanError(message, at=at, hint="write another `vni`, or leave it out")
    elif before is not None and network.vxlan is not None and network.vxlan.control == "static":
        message = f"{network.name} is there by `control: evpn`, and can't become static where it is"
        hint = "leave it out for one apply, or give it another name"
        yield PlanError(message, at=at, hint=hint)


def _by_bgp(name: str) -> str:
    return f"{name} evpn"


def _vnis(
    topology: Topology,
    spanning: Mapping[str, Network],
    held: Mapping[str, int],
    facts: Mapping[str, Facts],
    errors: list[NetfabError],
) -> dict[str, int]:
    """The written one, or the leased one, or the lowest that is unused on all of the hosts."""
    taken = {
        vni: holder.replace("this host", host) for host, own in facts.items() for vni, holder in own.vnis
    }
    found: dict[str, int] = {}
    for name, network in spanning.items():
        wanted = network.vxlan.vni if network.vxlan else PLANNED
        vni = held.get(vni_key(network)) if wanted is PLANNED else wanted
        errors += _still_of_another_control(network, vni, held)
        if vni is not None:
            if vni in taken:
                at = network.at.of("vxlan")
                errors.append(PlanError(f"VNI {vni}, for network {name}, is {taken[vni]}", at=at))
            taken[vni] = f"network {name}"
            found[name] = vni
    # The lease of a network that is on one host for now is kept.
    kept = {vni for key, vni in held.items() if key.split()[0] in topology.networks}
    free = (vni for vni in VNIS if vni not in taken and vni not in kept)
    return {name: found[name] if name in found else next(free) for name in spanning}
