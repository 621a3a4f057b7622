"""From a topology, leases and facts of the host to the kernel objects that should exist. Pure.

The same input gives the same plan. layout.py makes the choices; this file only joins the parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

from netfab.errors import PlanError, raise_all
from netfab.objects.address import Address
from netfab.objects.base import Fabric, KernelObject
from netfab.objects.bridge import Bridge
from netfab.plan import hosts, network, node, uplink
from netfab.plan.containers import commands, containers
from netfab.plan.facts import Facts
from netfab.plan.guests import addresses_in_guest, guest_of, routes_in_guests
from netfab.plan.hosts import HostsTable, Names
from netfab.plan.layout import Layout, Nic, Segment, lay_out
from netfab.plan.leases import Lease
from netfab.plan.protection import firewalls, hairpins, held_ports, lease_of, published_ports
from netfab.plan.refusals import idle_between_links, refuse_reserved, without_program
from netfab.plan.routes import is_here, routes_of, with_way_out
from netfab.plan.seats import routers
from netfab.topology.grammar import tag_of
from netfab.topology.schema import HostMode, Link, Network, Publish, Topology
from netfab.tuples import NamedTuple

if TYPE_CHECKING:
    from netfab.plan.overlay import FarEntries


class Plan(NamedTuple):
    """The desired state of the host, the leases for it, and what was decided."""

    fabric: Fabric
    claims: frozenset[Lease]
    warnings: tuple[str, ...]
    layout: Layout
    published: tuple[Publish, ...]
    names: Mapping[str, Names]  # each node's files for name resolution
    commands: Mapping[str, tuple[tuple[str, ...], ...]]  # to run once in new nodes without a program
    guests: Mapping[str, str] = {}  # node that another runtime runs -> path of its network namespace
    nodes: frozenset[str] | None = None  # whose objects a part has (part.py); None: all


class Common(NamedTuple):
    """What is the same on all hosts of a topology, computed once."""

    table: HostsTable
    far: FarEntries = {}
    encrypted: Mapping[str, Fabric] = {}  # by host, its states and policies for encryption


def plan(topology: Topology, leases: Iterable[Lease], facts: Facts, run_directory: str) -> Plan:
    """Plan a topology for one host. `run_directory` is where the fabric's files go.

    Raises Unsupported for keys without effect yet, PlanError and its subclasses for what is impossible.
    """
    refuse_reserved(topology)
    _refuse_several_hosts(topology)
    if topology.uses_nics:
        from netfab.plan import nics

        raise_all(chain(nics.unusable(topology, facts), uplink.unusable(topology, facts)))
    facts = uplink.with_uplinks(facts, topology)
    layout = lay_out(topology, leases, facts)
    return plan_of(topology, layout, facts, run_directory, Common(HostsTable(topology, layout)))


def _refuse_several_hosts(topology: Topology) -> None:
    if topology.hosts:
        named = ", ".join(topology.hosts)
        hint = "`netfab lab FILE` simulates them"
        raise PlanError(f"this file is for other hosts: {named}", at=topology.at.of("hosts"), hint=hint)


def plan_of(topology: Topology, layout: Layout, facts: Facts, run_directory: str, common: Common) -> Plan:
    """The plan of a layout for the host that it is seen from. Raises PlanError."""
    facts = uplink.through_bridges(facts, [(held.spec, held.bridge) for held in layout.segments.values()])
    made = [
        network.for_ways_out(thing, layout.segments.values(), facts)
        for thing in objects(topology, layout, facts)
    ]
    addresses = [thing for thing in made if isinstance(thing, Address)]
    routes = list(routes_in_guests(topology, routes_of(topology, layout, addresses)))
    way_out = with_way_out(topology, layout, routes)
    routes = [route for route in routes if is_here(topology.name, layout, route)]
    directory = f"{run_directory}/{topology.name}/etc"
    names, files = hosts.names_of(topology, layout, facts, common.table, way_out, directory)
    published = published_ports(topology, layout, routes, facts)
    ports = [port for port, _ in published]
    if ports:
        from netfab.plan.firewall import localnet_bridges

        local, back = localnet_bridges(ports), hairpins(topology, layout, ports, facts)
        made = [network.for_published(thing, local, back) for thing in made]
    here = [segment for segment in layout.segments.values() if segment.here]
    borrowed = list(network.borrowed_for(here, facts))
    bridges = [thing for thing in made if isinstance(thing, Bridge)]
    tables = firewalls(topology, layout, routes, ports, network.opened(borrowed), bridges, facts)
    programs = containers(topology, layout, names)
    ways = network.passages(topology.name, here, facts)
    claims = (
        layout.claims
        | {Lease("borrowed", thing.key, thing.original) for thing in borrowed}
        | {lease_of(publish) for _, publish in published}
        | {Lease(*asked) for asked in topology.asked}
    )
    held = held_ports(topology.name, ports)
    fabric = Fabric(
        topology.name, [*held, *tables, *borrowed, *ways, *made, *files.values(), *programs, *routes]
    )
    if topology.hosts:
        from netfab.plan import evpn, overlay

        claims |= set(evpn.claims(topology, layout))
        speaking = (*evpn.own_entries(layout), *evpn.objects(topology, layout, facts))
        for entries in (Fabric(topology.name, speaking), *overlay.entries_here(layout, common.far)):
            fabric.update(entries)
        fabric.update(common.encrypted.get(layout.host, {}))
    publishes = tuple(dict.fromkeys(publish for _, publish in published))
    warnings = (
        *layout.prefixes.warnings,
        *idle_between_links(topology),
        *without_program(topology),
    )
    if topology.uses_nics:
        from netfab.plan import nics

        claims |= set(nics.claims(fabric))
        warnings += (*nics.warnings(topology, facts), *uplink.warnings(topology, facts))
    guests = {each.name: facts.guests[each.attach].path for each in topology.nodes.values() if each.attach}
    return Plan(fabric, claims, warnings, layout, publishes, names, commands(topology, layout), guests)


def objects(topology: Topology, layout: Layout, facts: Facts) -> Iterator[KernelObject]:
    """Bridges, namespaces, cables, ports and addresses."""
    forwarding = routers(topology)
    for segment in layout.segments.values():
        if isinstance(segment.spec, Network) and segment.here:
            yield from network.bridge_of(topology.name, segment, segment.spec, facts)
    yield from network.filtering_for(layout)
    if topology.hosts:
        from netfab.plan.overlay import tunnel_objects

        yield from tunnel_objects(topology, layout, facts)
    for name, interfaces in layout.here.items():
        spec = topology.nodes[name]
        if spec.attach:
            yield guest_of(topology.name, spec, facts)
            for nic in interfaces:
                yield from nic_objects(topology, layout, nic, forwarding, facts)
        elif node.has_namespace(spec):
            ipv6 = any(layout.segments[nic.segment].ipv6 for nic in interfaces)
            yield from node.namespace_of_node(topology.name, spec, spec.name in forwarding, ipv6)
            yield from node.loopback_of(topology.name, spec.name, layout.loopbacks.get(spec.name, ()))
            for nic in interfaces:
                yield from nic_objects(topology, layout, nic, forwarding, facts)
    if any(tag_of(nic.name) for nics in layout.nics.values() for nic in nics):
        from netfab.plan import vlans

        yield from vlans.objects(topology, layout, forwarding, facts)
    for segment, ends in node.links_of(layout):
        if len(ends) == 2 and not tag_of(ends[0].name):
            yield node.cable_between(topology.name, ends, segment, forwarding, facts)


def nic_objects(
    topology: Topology, layout: Layout, nic: Nic, forwarding: frozenset[str], facts: Facts
) -> Iterator[KernelObject]:
    """An interface's cable and bridge port, or its NIC; its addresses. A link's cable has two interfaces."""
    segment = layout.segments[nic.segment]
    if isinstance(segment.spec, Network):
        if not tag_of(nic.name):
            yield node.cable_to_host(topology.name, nic, segment, nic.node in forwarding, facts)
        yield network.port_of(topology.name, nic, segment, segment.spec, facts)
    elif segment.spec.outside is not None:
        from netfab.plan import nics

        router = nic.node in forwarding
        yield from nics.objects(topology.name, nic, segment.spec.outside, segment, router, facts)
    addresses = node.addresses_of(topology.name, nic, segment)
    yield from addresses_in_guest(addresses) if topology.nodes[nic.node].attach else addresses
    if nic.port.impairment.rate:
        yield node.rate_of(topology.name, nic)
    if nic.port.dhcp:
        yield node.dhcp_of(topology.name, nic, topology.nodes[nic.node], layout.nics[nic.node])


def summary(topology: Topology, plan: Plan) -> dict[str, Any]:
    """What was decided, as data: the head of `plan -o json`, stored for `status`, `ip` and `exec`."""
    layout = plan.layout
    networks = {
        name: {
            "subnets": [str(prefix) for prefix in segment.prefixes],
            "gateways": [str(address) for address in segment.gateways],
            "bridge": segment.bridge,
            "external": bool(segment.spec.external),
            **({"hosts": list(segment.hosts)} if len(segment.hosts) > 1 else {}),
        }
        for name, segment in layout.segments.items()
        if isinstance(segment.spec, Network) and segment.here
    }
    nodes = {name: _node_summary(topology, plan, name) for name in topology.nodes if layout.has(name)}
    links = [_link_summary(segment, ends) for segment, ends in node.links_of(layout)]
    return {"networks": networks, "nodes": nodes, "links": links}


def _link_summary(segment: Segment, nics: list[Nic]) -> dict[str, Any]:
    ends = [(f"{nic.node}:{nic.name}", nic.addresses) for nic in nics]
    if isinstance(segment.spec, Link) and (outside := segment.spec.outside):
        ends.append((f"{outside.kind}:{outside.device}", segment.host_addresses))
    return {
        "endpoints": [end for end, _ in ends],
        "addresses": [[str(interface) for interface in addresses] for _, addresses in ends],
    }


def _node_summary(topology: Topology, plan: Plan, name: str) -> dict[str, Any]:
    addresses: dict[str, list[str]] = {}
    interfaces = []
    for nic in plan.layout.nics[name]:
        here = [str(interface.ip) for interface in nic.addresses]
        addresses.setdefault(nic.segment, []).extend(here)
        interfaces.append({"name": nic.name, "mac": nic.mac, "addresses": here, "network": nic.segment})
    holder = hosts.namespace_holder(topology, topology.nodes[name])
    namespace = "" if isinstance(holder.mode, HostMode) else f"/run/netns/{topology.name}.{holder.name}"
    if holder.attach:
        namespace = plan.guests[holder.name]
    return {
        "addresses": addresses,
        "namespace": namespace,
        "guest": holder.attach,
        "interfaces": interfaces,
        "published": [str(port) for port in topology.nodes[name].publish],
        "hostname": holder.hostname or holder.name,
        **plan.names[name]._asdict(),
    }
