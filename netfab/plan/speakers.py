"""Which hosts of a topology speak BGP, for its networks with `control: evpn`. Refuses those that can't.

What they announce is in evpn.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from netfab.errors import NetfabError, PlanError, Unsupported
from netfab.plan.facts import Facts
from netfab.plan.leases import same_port
from netfab.topology.schema import HostEntry, Network, Topology

PORT = 179  # TCP; RFC 4271, section 8.2.1


def by_bgp(network: Network) -> bool:
    """Whether its hosts learn from each other by BGP who is where."""
    return network.vxlan is not None and network.vxlan.control == "evpn"


def speakers(topology: Topology, segments: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """Hosts with such a network, and the reflectors, in file order. `segments`: the hosts of each."""
    spanning = {name: hosts for name, hosts in segments.items() if len(hosts) > 1}
    of_networks = {
        host
        for network in topology.networks.values()
        if by_bgp(network)
        for host in spanning.get(network.name, ())
    }
    if not of_networks:
        return ()
    return tuple(host.name for host in topology.hosts.values() if host.reflector or host.name in of_networks)


def dumb(
    topology: Topology, segments: Mapping[str, Collection[str]], facts: Mapping[str, Facts]
) -> Iterator[NetfabError]:
    """Hosts that need BGP, but can't run it."""
    for name in speakers(topology, segments):
        host = topology.hosts[name]
        if host.address is None:
            if host.reflector:
                yield PlanError(f"{name} is a reflector, and has no `address` to reach it at", at=host.at.own)
        elif host.address.version == 6:
            message = f"{name} is at {host.address}, and FRR's EVPN has tunnels over IPv4 only"
            hint = "leave `control` out, or give the hosts IPv4 addresses"
            yield Unsupported(message, at=host.at.of("address"), hint=hint)
        elif name in facts:
            yield from _can_not_speak(host, facts[name])


def _can_not_speak(host: HostEntry, facts: Facts) -> Iterator[NetfabError]:
    if facts.frr is None:
        message = f"FRR (zebra, bgpd) is not installed on host {host.name}"
        yield Unsupported(message, at=host.at.own, hint="apt-get install frr")
    elif facts.frr.runs:
        message = f"FRR runs on host {host.name} already, and netfab does not share it"
        hint = "`systemctl disable --now frr`, or leave `control` out"
        yield Unsupported(message, at=host.at.own, hint=hint)
    for key, fabric in facts.published.items():
        if same_port(key, port_key(host)):
            message = f"{host.name} is to speak BGP at port {PORT}, which is fabric {fabric}'s there"
            yield PlanError(message, at=host.at.own, hint="leave `control` out")


def port_key(host: HostEntry) -> str:
    """The listening port, as in leases: only one fabric can have it."""
    return f"tcp/{host.address}/{PORT}"
