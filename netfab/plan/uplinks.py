"""Uplinks of a topology for several hosts: which host has which NIC, and what is behind it. Pure.

Each host is then planned like a single one (uplink.py). runs_on.py refuses loops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from netfab.errors import PlanError
from netfab.plan.facts import Facts
from netfab.plan.leases import Lease
from netfab.plan.tunnels import Tunnel, underlay
from netfab.plan.uplink import held_by_host, nic_of, original_of
from netfab.topology.schema import Address, Network, Topology
from netfab.tuples import NamedTuple


class Behind(NamedTuple):
    """What hosts have on NICs that are ports of a network's bridges."""

    mtus: tuple[int, ...] = ()
    held: Mapping[Address, str] = {}  # the hosts' own addresses, and their holders
    stations: Mapping[str, str] = {}  # by host: the MAC of its bridge, which has such a NIC, or had one


def by_host(topology: Topology, hosts: Mapping[str, tuple[str, ...]]) -> Topology:
    """The topology with the uplinks of each host by its name, including those written once for all.

    `hosts`: those of each network.
    """
    return _with_uplinks_of(
        topology,
        lambda network: tuple(
            (one, nic) for host, nic in network.uplink for one in ((host,) if host else hosts[network.name])
        ),
    )


def seen_from(host: str, topology: Topology) -> Topology:
    """The topology for that host alone: with its uplinks only."""
    return _with_uplinks_of(
        topology, lambda network: tuple(("", nic) for one, nic in network.uplink if one == host)
    )


def _with_uplinks_of(
    topology: Topology, uplinks: Callable[[Network], tuple[tuple[str, str], ...]]
) -> Topology:
    networks = topology.networks.values()
    if not any(network.uplink for network in networks):
        return topology
    return topology._replace(
        networks={network.name: network._replace(uplink=uplinks(network)) for network in networks}
    )


def behind(
    network: str,
    hosts: Iterable[str],
    seen: Mapping[str, Topology],
    facts: Mapping[str, Facts],
    leases: Iterable[Lease],
) -> Behind:
    """For a network or a link (which has none), on these hosts. `seen`: the topology as each host sees it."""
    kept = {lease.key: lease.value for lease in leases if lease.kind == "mac"}
    mtus: list[int] = []
    held: dict[Address, str] = {}
    stations: dict[str, str] = {}
    for host in hosts:
        if station := kept.get(f"{network}/@{host}"):
            stations[host] = station
        spec = seen[host].networks.get(network) if host in seen else None
        original = original_of(spec, facts[host]) if spec else None
        if spec is not None and original is not None:
            stations[host] = original.mac
            mtus.append(original.mtu)
            for address, holder in held_by_host(spec, facts[host]).items():
                held[address] = holder.replace("this host", host)
    return Behind(tuple(mtus), held, stations)


def through_themselves(
    topology: Topology,
    seen: Mapping[str, Topology],
    tunnels: Mapping[str, Tunnel],
    facts: Mapping[str, Facts],
) -> Iterator[PlanError]:
    """NICs to become bridge ports through which tunnels, bridge ports themselves, send."""
    ends = {host: address for tunnel in tunnels.values() for host, address in tunnel.ends.items()}
    for host, own in seen.items():
        below = underlay(ends.get(host), facts[host])
        for network in own.networks.values():
            if below is not None and (nic := nic_of(network)) and nic == below.name:
                yield PlanError(
                    f"{below.name} of {host} has {ends[host]}, which its tunnels go by, and can't be a port",
                    at=topology.networks[network.name].at.of("uplink"),
                    hint=f"another NIC as uplink, or as `address` of {host} one that is on another",
                )
