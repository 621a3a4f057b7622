"""One host's part of a topology, planned on that host without asking the others.

What is leased or written is the same for all hosts. A choice that would depend on the others is refused,
with a hint what to write; the MTU of the tunnels to them is taken from what was applied here before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from netfab.errors import NetfabError, PlanError
from netfab.objects.original import Original
from netfab.plan import encryption, uplinks
from netfab.plan.facts import Device, Facts, FoundNic
from netfab.plan.leases import Lease
from netfab.plan.overhead import packet_around
from netfab.plan.planner import Plan
from netfab.plan.runs_on import place
from netfab.plan.tunnels import vni_key
from netfab.plan.uplink import nic_of
from netfab.topology.schema import PLANNED, Network, Topology

_OR = ", or apply to all hosts once"


def facts_of_others(
    topology: Topology, host: str, leases: Iterable[Lease], applied: Mapping[str, int]
) -> dict[str, Facts]:
    """What is known of the other hosts. `applied`: MTUs of this host's tunnels, by device."""
    mtus, spanning = _mtus(topology, leases, applied), _spanning(topology)
    named = uplinks.by_host(topology, place(topology).segments)
    found: dict[str, Facts] = {}
    for other in topology.hosts.values():
        if other.name != host and other.address is not None:
            known = [
                packet_around(mtus[name], other.address.version, topology.networks[name].encrypt)
                for name, hosts in spanning
                if other.name in hosts and name in mtus
            ]
            device = Device("", max(known, default=1500), (other.address,))
            found[other.name] = Facts(devices=(device,), nics=_nics(uplinks.seen_from(other.name, named)))
    return found


def _nics(topology: Topology) -> dict[str, FoundNic]:
    """NICs that are bridge ports there; only their MTU matters here, and the file has that."""
    return {
        nic_of(network): FoundNic(Original("", 0, "", mtu, 0, True))
        for network in topology.networks.values()
        if nic_of(network)
        for mtu in (network.mtu if isinstance(network.mtu, int) else 1500,)
    }


def undetermined(
    topology: Topology, host: str, plan: Plan, leases: Iterable[Lease], applied: Mapping[str, int]
) -> Iterator[NetfabError]:
    """What in the plan another host might choose differently, as errors."""
    held = frozenset(leases)
    keys, mtus = {(lease.kind, lease.key) for lease in held}, _mtus(topology, held, applied)
    for demand in plan.layout.prefixes.demands:
        chosen = plan.layout.prefixes.chosen[demand.key]
        leased = {("subnet", demand.key), ("shared", demand.key)} & keys
        if chosen != demand.fixed and not leased:
            message = f"the subnet of {demand.segment} depends on what the other hosts have"
            yield PlanError(message, at=demand.at, hint=f"write `subnet: {chosen}`{_OR}")
    agreed = {lease.key: lease.value for lease in held if lease.kind == encryption.LEASE}
    for lease in plan.layout.claims:
        ours = lease.kind == encryption.LEASE and host in lease.key.split()
        if ours and agreed.get(lease.key, lease.value) != lease.value:
            yield PlanError(
                f"the keys that {lease.key.replace(' ', ' and ')} had are used up, or are not here any more",
                hint="apply to all hosts: they have to have new ones at once",
            )
    for name, hosts in place(topology).segments.items():
        spec = topology.networks.get(name)
        if spec is not None and spec.uplink and host in hosts and len(hosts) > 1 and spec.mtu is PLANNED:
            message = f"the MTU of {name} depends on the NICs of the other hosts"
            hint = f"write `mtu: {plan.layout.segments[name].mtu}`{_OR}"
            yield PlanError(message, at=spec.at.of("uplink"), hint=hint)
    for name, hosts in _spanning(topology):
        network = topology.networks[name]
        if host in hosts and ("vni", vni_key(network)) not in keys and _vni(network) is PLANNED:
            message = f"the VNI of {name} depends on what the other hosts have"
            yield PlanError(message, at=network.at.own, hint=f"write `vxlan: {{vni: 1000}}`{_OR}")
        if host in hosts and name not in mtus:
            message = f"the MTU of {name} depends on the interfaces of the other hosts"
            mtu = plan.layout.segments[name].mtu
            yield PlanError(message, at=network.at.own, hint=f"write `mtu: {mtu}`{_OR}")


def _spanning(topology: Topology) -> list[tuple[str, tuple[str, ...]]]:
    """The networks with tunnels, and their hosts."""
    placement = place(topology)
    return [
        (network.name, placement.segments[network.name])
        for network in topology.networks.values()
        if network.vxlan is not None and len(placement.segments[network.name]) > 1
    ]


def _mtus(topology: Topology, leases: Iterable[Lease], applied: Mapping[str, int]) -> dict[str, int]:
    """MTUs by network, as written, or as applied."""
    vnis = {lease.key.split()[0]: f"vx{lease.value}" for lease in leases if lease.kind == "vni"}
    found = {name: applied[vnis[name]] for name in vnis if vnis[name] in applied}
    for network in topology.networks.values():
        if isinstance(network.mtu, int):
            found[network.name] = network.mtu
    return found


def _vni(network: Network) -> object:
    return network.vxlan.vni if network.vxlan else None
