"""A plan for each host of a topology: choices are made once for all hosts, objects for each.

What is chosen avoids what any of the hosts has. Each host then gets its own objects, by the same planner as a
single host. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_network
from itertools import chain

from netfab.errors import NetfabError, PlanError, raise_all
from netfab.plan import encryption, nics, uplink, uplinks
from netfab.plan.facts import Facts
from netfab.plan.hosts import HostsTable
from netfab.plan.layout import Layout, Segment, Span, lay_out
from netfab.plan.leases import Lease, Published
from netfab.plan.overlay import far_entries
from netfab.plan.planner import Common, Plan, plan_of
from netfab.plan.protection import publish_key
from netfab.plan.refusals import on_open_vswitch, refuse_reserved
from netfab.plan.runs_on import Placement, place
from netfab.plan.seats import host_is_gateway, seats_of, segment_names
from netfab.plan.subnets import Reservation
from netfab.plan.tunnels import Tunnel, tunnels_of
from netfab.plan.uplinks import Behind
from netfab.topology.schema import Address, Network, Topology


def plan_hosts(
    topology: Topology,
    leases: Iterable[Lease],
    facts: Mapping[str, Facts],
    run_directories: Mapping[str, str],
    secret: bytes = b"",
) -> Mapping[str, Plan]:
    """Plan a topology for each of its hosts of which there are facts.

    `run_directories` hold each host's files; `secret` is what keys are derived from, unused if no network is
    encrypted. The leases of all are `layout.claims` of any of the plans; what a plan claims besides (ports
    that it publishes, what it borrows) is its host's own. Raises as `plan` does.
    """
    refuse_reserved(topology)
    known = tuple(leases)
    placement = place(topology)
    topology = uplinks.by_host(topology, placement.segments)
    seen = {host: uplinks.seen_from(host, topology) for host in topology.hosts if host in facts}
    raise_all(
        chain(
            _unusable_nics(seen, placement, facts),
            _published_twice(topology, placement),
            _on_open_vswitch(topology, placement, {host: facts[host] for host in seen}),
        )
    )
    there = {host: uplink.with_uplinks(facts[host], own) for host, own in seen.items()}
    tunnels = tunnels_of(topology, placement, there, known)
    raise_all(
        chain(
            uplinks.through_themselves(topology, seen, tunnels, there),
            encryption.mixed(topology, tunnels),
            encryption.unsupported(topology, tunnels, there),
        )
    )
    keys = encryption.agreed(topology, tunnels, facts, known, secret)
    together = of_all(topology, there)
    spans = {}
    for name, hosts in placement.segments.items():
        tunnel = tunnels.get(name)
        own = _facts_of(hosts, tunnel, together, there)
        spans[name] = _span(hosts, tunnel, own, uplinks.behind(name, hosts, seen, there, known))
    layout = lay_out(topology, known, together, spans)
    layout = layout._replace(runs_on=placement.nodes, claims=layout.claims | keys)
    ways = encryption.encrypted(topology, tunnels, keys, secret)
    common = Common(HostsTable(topology, layout), far_entries(topology, layout), ways)
    plans = {}
    for host, own in there.items():
        # A machine's id makes its bridges' MACs unique; here every host knows those of the others.
        named = own._replace(machine=host)
        plans[host] = plan_of(
            seen[host], _seen_from(host, layout, seen[host]), named, run_directories[host], common
        )
    return plans


def on_host(topology: Topology, placement: Placement, host: str) -> Topology:
    """The topology with only that host's nodes and links."""
    links = zip(segment_names(topology), topology.links, strict=True)
    return topology._replace(
        nodes={name: node for name, node in topology.nodes.items() if placement.nodes[name] == host},
        links=tuple(link for name, link in links if host in placement.segments[name]),
    )


def _unusable_nics(
    seen: Mapping[str, Topology], placement: Placement, facts: Mapping[str, Facts]
) -> Iterator[NetfabError]:
    for host, topology in seen.items():
        yield from nics.unusable(on_host(topology, placement, host), facts[host])
        yield from uplink.unusable(on_host(topology, placement, host), facts[host])


def _on_open_vswitch(
    topology: Topology, placement: Placement, facts: Mapping[str, Facts]
) -> Iterator[NetfabError]:
    """What `on_open_vswitch` refuses on each host; the combined facts of all hosts do not show it."""
    for host, own in facts.items():
        if own.openvswitch is not None:
            networks = {
                name: network
                for name, network in topology.networks.items()
                if host in placement.segments[name]
            }
            seats = [seat for seat in seats_of(topology) if seat.segment in networks]
            by_segment = {name: [seat for seat in seats if seat.segment == name] for name in networks}
            yield from on_open_vswitch(topology._replace(networks=networks), by_segment, own)


def _published_twice(topology: Topology, placement: Placement) -> Iterator[NetfabError]:
    """Ports that two nodes publish that `runs_on` deals to one host."""
    taken: dict[str, Published] = {host: Published() for host in topology.hosts}
    holders: dict[tuple[str, str], str] = {}  # by host and port, the first node
    for node in topology.nodes.values():
        for publish in node.publish:
            key, host = publish_key(publish), placement.nodes[node.name]
            if held := taken[host].beside(key):
                message = f"port {key} of {host} is published by {holders[host, held]} already"
                yield PlanError(message, at=publish.at)
            taken[host].add(key)
            holders.setdefault((host, key), node.name)


def of_all(topology: Topology, facts: Mapping[str, Facts]) -> Facts:
    """What must be avoided on all hosts."""
    held: dict[str, dict[Address, str]] = {}
    for own in facts.values():
        for bridge, addresses in own.held.items():
            held.setdefault(bridge, {}).update(addresses)
    named = (f"{host.name} {host.address}" for host in topology.hosts.values())
    reservations = [
        Reservation(prefix, holder.replace("this host", host))
        for host, own in facts.items()
        for prefix, holder in own.reservations
    ]
    reservations += [
        Reservation(ip_network(host.address), f"the address of host {host.name}")
        for host in topology.hosts.values()
        if host.address
    ]
    return Facts(
        reservations=tuple(reservations),
        links=frozenset(chain.from_iterable(own.links for own in facts.values())),
        bridges={
            name: f"{holder} on {host}" for host, own in facts.items() for name, holder in own.bridges.items()
        },
        mtu=min((own.mtu for own in facts.values()), default=Facts().mtu),
        machine=" ".join(named),
        ipv6=all(own.ipv6 for own in facts.values()),
        held=held,
    )


def _span(hosts: tuple[str, ...], tunnel: Tunnel | None, own: Facts, behind: Behind) -> Span:
    """What a network or link on these hosts must respect."""
    mtus = (*behind.mtus, *((own.mtu,) if tunnel or not behind.mtus else ()))
    return Span(hosts, own._replace(mtu=min(mtus)), tunnel, behind.held, behind.stations)


def _facts_of(
    hosts: tuple[str, ...], tunnel: Tunnel | None, together: Facts, facts: Mapping[str, Facts]
) -> Facts:
    if tunnel is not None:
        return together._replace(mtu=tunnel.mtu)
    if len(hosts) == 1 and hosts[0] in facts:
        own = facts[hosts[0]]
        return together._replace(mtu=own.mtu, nics=own.nics, machine=own.machine)
    return together


def _seen_from(host: str, layout: Layout, topology: Topology) -> Layout:
    segments = {
        name: _segment_seen_from(host, segment, topology.networks.get(name))
        for name, segment in layout.segments.items()
    }
    here = {node: nics for node, nics in layout.nics.items() if layout.runs_on[node] == host}
    return layout._replace(host=host, segments=segments, here=here)


def _segment_seen_from(host: str, segment: Segment, spec: Network | None) -> Segment:
    """With this host's own addresses; if it has none, the first host that has some is the way out."""
    here = host in segment.hosts
    segment = segment._replace(spec=spec or segment.spec, station=segment.stations.get(host, ""))
    if not host_is_gateway(segment.spec):
        return segment._replace(here=here)
    own = segment.hosts.get(host, ())
    way_out = own or next(iter(segment.hosts.values()), ())
    gateways = tuple(interface.ip for interface in way_out)
    return segment._replace(here=here, host_addresses=own, gateways=gateways)
