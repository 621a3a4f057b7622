"""Some nodes of a plan: `--only a,b`.

A part has those nodes' objects and what these depend on: the nodes that they wait for or share a network
namespace with, the bridges that they are on with all that the host has there, their files and rules. Of a
topology with `hosts` each host has a part: there, a network's tunnel, and where these nodes are. Merged into
what there is, it leaves the objects of all other nodes alone. Pure; a part is applied like a whole plan.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from typing import Any

from netfab.errors import PlanError, raise_all
from netfab.objects.address import Address
from netfab.objects.base import HOST, Fabric, Name, node_of, node_space, spaces_of
from netfab.objects.bgp import Bgp
from netfab.objects.bgp_peer import BgpPeer
from netfab.objects.borrowed import Borrowed
from netfab.objects.container import Container
from netfab.objects.firewall import Firewall
from netfab.objects.held import HeldPorts
from netfab.objects.ovsport import OvsPort
from netfab.objects.passage import Passage
from netfab.objects.port import Port
from netfab.objects.route import Route
from netfab.objects.supervisor import Supervisor
from netfab.objects.xfrm_policy import XfrmPolicy
from netfab.objects.xfrm_state import XfrmState
from netfab.plan.layout import tunnels_here
from netfab.plan.leases import Lease
from netfab.plan.network import opened
from netfab.plan.nics import claims
from netfab.plan.node import namespace_name
from netfab.plan.overlay import Told
from netfab.plan.part_firewall import shared_table
from netfab.plan.planner import Plan
from netfab.plan.protection import lease_of
from netfab.plan.tunnels import Tunnel
from netfab.topology.schema import ContainerMode, Publish, Topology
from netfab.topology.suggest import nearest


def part_of(topology: Topology, plan: Plan, only: Iterable[str], applied: Collection[str] = ()) -> Plan:
    """The part of a plan that the nodes of these names have or need.

    `applied`: existing nodes; one that is no longer in the file may be named, too, and is removed. Raises
    PlanError for an unknown name.
    """
    nodes = nodes_of(topology, only, applied)
    fabric = Fabric(topology.name, _needed(topology, plan, nodes))
    published = [
        publish for name in nodes & topology.nodes.keys() for publish in topology.nodes[name].publish
    ]
    others = {lease_of(publish) for publish in plan.published} - {lease_of(publish) for publish in published}
    return plan._replace(
        fabric=fabric,
        claims=frozenset(
            {lease for lease in plan.claims - others if lease.kind != "inside"}.union(claims(fabric))
        ),
        published=tuple(publish for publish in plan.published if publish in published),
        commands={  # also for the other ends of links, if their namespaces are new
            name: several
            for name, several in plan.commands.items()
            if namespace_name(topology.name, name) in fabric
        },
        nodes=nodes,
    )


def nodes_of(topology: Topology, only: Iterable[str], applied: Collection[str] = ()) -> frozenset[str]:
    """The nodes of these names, and those that they depend on. Raises PlanError, as part_of does."""
    return frozenset(_with_needed(topology, _named(topology, only, applied)))


def within(plan: Plan, there: Fabric) -> Fabric:
    """The desired fabric: a whole plan's, or `there` with a part merged in.

    Raises PlanError if an address of the part is also another node's.
    """
    if plan.nodes is None:
        return plan.fabric
    about = _words_about(plan, there)
    put = [_beside(thing, there.get(name), about, plan.published) for name, thing in plan.fabric.items()]
    own, macs = _own(there, plan.nodes), _macs(plan, plan.nodes)
    told = [thing for thing in there.values() if isinstance(thing, Told) and thing.mac in macs]
    bridges = {Name(HOST, bridge) for bridge in _bridges(plan)}
    hosts = [thing for thing in there.values() if isinstance(thing, Address) and thing.link in bridges]
    taken = {name for thing in (*put, *own, *told, *hosts) for name in _exclusive(thing)}
    kinds = (XfrmState, XfrmPolicy) if any(isinstance(thing, XfrmState) for thing in put) else ()
    left = [
        thing
        for thing in there.values()
        if taken.isdisjoint(_exclusive(thing)) and not isinstance(thing, kinds)
    ]
    raise_all(_held_twice(put, left))
    return Fabric(there.name, _upheld([*put, *left], there))


def _held_twice(put: Iterable[Any], left: Iterable[Any]) -> Iterator[PlanError]:
    """A conflict not foreseen in part_kept.py. Several nodes may have the same address on lo."""
    stays = {
        thing.address: thing.link
        for thing in left
        if isinstance(thing, Address) and not (thing.link.text == "lo" or thing.address.is_link_local)
    }
    for thing in put:
        if isinstance(thing, Address) and (holder := stays.get(thing.address)):
            yield PlanError(
                f"{thing.address}, for {thing.link}, is on {holder}, which --only leaves as it is",
                hint=f"name {node_of(holder.space)}, too",
            )


def summary_within(plan: Plan, chosen: Mapping[str, Any], there: Mapping[str, Any]) -> Mapping[str, Any]:
    """The summary of the desired fabric, from `there`, the current one; `chosen` is the whole plan's."""
    if plan.nodes is None:
        return chosen
    nodes, segments = plan.nodes, _segments(plan)

    def ours(link: Mapping[str, Any]) -> bool:
        return any(end.partition(":")[0] in nodes for end in link["endpoints"])

    def of(names: Collection[str], key: str) -> dict[str, Any]:
        others = {name: found for name, found in there.get(key, {}).items() if name not in names}
        return {**others, **{name: found for name, found in chosen[key].items() if name in names}}

    return {
        "networks": {**there.get("networks", {}), **of(segments, "networks")},
        "nodes": of(nodes, "nodes"),
        "links": [
            *(link for link in there.get("links", ()) if not ours(link)),
            *(link for link in chosen["links"] if ours(link)),
        ],
    }


def commands_within(plan: Plan, there: Mapping[str, Any]) -> Mapping[str, Any]:
    """The commands for new nodes, given the known ones."""
    others = {name: several for name, several in there.items() if plan.nodes and name not in plan.nodes}
    return {**others, **plan.commands}


def leases_within(plan: Plan, there: Iterable[Lease]) -> frozenset[Lease]:
    """The leases, given the current ones: a part releases none."""
    if plan.nodes is None:
        return plan.claims
    return frozenset({(lease.kind, lease.key): lease for lease in (*there, *plan.claims)}.values())


def _named(topology: Topology, only: Iterable[str], applied: Collection[str]) -> Iterator[str]:
    """Nodes by name; the name of a `scale` stands for all its nodes."""
    for name in only:
        found = [node.name for node in topology.nodes.values() if name in (node.name, node.base)]
        if not found and name not in applied:
            known = [*topology.nodes, *applied]
            near = nearest(name, known)
            hint = f"did you mean `{near}`?" if near else f"there are {', '.join(known[:20]) or 'none'}"
            raise PlanError(f"there is no node {name} in {topology.name}", hint=hint)
        yield from found or [name]


def _with_needed(topology: Topology, names: Iterable[str]) -> set[str]:
    """These nodes, those that they wait for, and those whose network they share."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            if node := topology.nodes.get(name):
                waiting += node.depends_on
                waiting += [node.mode.node] if isinstance(node.mode, ContainerMode) else []
    return found


def _segments(plan: Plan) -> set[str]:
    return {nic.segment for name in plan.nodes or () for nic in plan.layout.nics.get(name, ())}


def _bridges(plan: Plan) -> set[str]:
    return {plan.layout.segments[name].bridge for name in _segments(plan)} - {""}


def _tunnels(plan: Plan) -> list[Tunnel]:
    """Those of the nodes' networks on this host."""
    segments = _segments(plan)
    return [tunnel for segment, tunnel in tunnels_here(plan.layout) if segment.name in segments]


def _macs(plan: Plan, nodes: Iterable[str]) -> set[str]:
    return {nic.mac for name in nodes for nic in plan.layout.nics.get(name, ())}


def _own(fabric: Fabric, nodes: Set[str]) -> list[Any]:
    """The nodes' own objects: in their namespaces, their programs, and on their cables."""
    spaces = {node_space(fabric.name, name) for name in nodes}
    found = [
        thing
        for thing in fabric.values()
        if (thing.name in nodes if isinstance(thing, Container) else spaces.intersection(spaces_of(thing)))
    ]
    ends = {name for thing in found for name in thing.names if name.space == HOST}
    while ends:  # a port is on a cable, or on a VLAN of one
        more = [thing for thing in fabric.values() if not ends.isdisjoint(thing.needs)]
        found += more
        ends = {name for thing in more for name in thing.names if name.space == HOST}
    return found


def _needed(topology: Topology, plan: Plan, nodes: frozenset[str]) -> Iterator[Any]:
    """The nodes' own objects, and the shared ones that they need, in plan order."""
    plan = plan._replace(nodes=nodes)
    bridges = _bridges(plan)
    tunnels = {Name(HOST, tunnel.device) for tunnel in _tunnels(plan)}
    encrypted = any(tunnel.encrypted for tunnel in _tunnels(plan))  # keys belong to hosts, not networks
    links = {Name(HOST, bridge) for bridge in bridges} | tunnels
    others = _macs(plan, plan.layout.nics.keys() - nodes)
    files = {Name("file", path) for name in nodes for path in plan.names.get(name, ())}
    own = {thing.names[0] for thing in _own(plan.fabric, nodes)}
    speaking = any(tunnel.by_bgp for tunnel in _tunnels(plan))
    programs = speaking or any(isinstance(plan.fabric[name], Container) for name in own)

    def shared(thing: Any) -> bool:
        if isinstance(thing, Passage):
            return thing.bridge in bridges
        if isinstance(thing, Borrowed | Firewall):
            return bool(bridges)
        if isinstance(thing, Supervisor):
            return programs
        if isinstance(thing, Bgp | BgpPeer):
            return speaking
        if isinstance(thing, HeldPorts):
            return any(topology.nodes[name].publish for name in nodes & plan.layout.here.keys())
        if isinstance(thing, XfrmState | XfrmPolicy):
            return encrypted
        if isinstance(thing, Told) and thing.mac in others:
            return False
        if isinstance(thing, Port | OvsPort):
            return thing.link in tunnels
        return not links.isdisjoint((*thing.names, *thing.needs))

    found = own | files | {name for name, thing in plan.fabric.items() if shared(thing)}
    holders = {held: name for name, thing in plan.fabric.items() for held in thing.names}
    waiting = list(found & plan.fabric.keys())
    while waiting:
        for need in plan.fabric[waiting.pop()].needs:
            if need in holders and holders[need] not in found:
                found.add(holders[need])
                waiting.append(holders[need])
    yield from (thing for name, thing in plan.fabric.items() if name in found)


def _words_about(plan: Plan, there: Fabric) -> frozenset[str]:
    """What the firewall calls the nodes and their networks: links, bridges, addresses, prefixes."""
    nodes = plan.nodes or frozenset()
    own = [*_own(plan.fabric, nodes), *_own(there, nodes)]
    devices = opened(thing for thing in plan.fabric.values() if isinstance(thing, Borrowed))
    return frozenset(
        {
            *_bridges(plan),
            *(tunnel.device for tunnel in _tunnels(plan)),
            *(str(address) for tunnel in _tunnels(plan) for address in tunnel.ends.values()),
            *(name for of_family in devices.values() for name in of_family),
            *(name.text for thing in own for name in thing.names if name.space == HOST),
            *(str(thing.address) for thing in own if isinstance(thing, Address)),
            *(str(prefix) for name in _segments(plan) for prefix in plan.layout.segments[name].prefixes),
            *(str(thing.destination) for thing in plan.fabric.values() if _is_the_hosts_route(thing)),
        }
    )


def _exclusive(thing: Any) -> tuple[Name, ...]:
    """The names that only one object can hold; the prefix of link-local addresses is shared by links."""
    names: tuple[Name, ...] = thing.names
    return names[:1] if isinstance(thing, Address) and thing.address.is_link_local else names


def _is_the_hosts_route(thing: Any) -> bool:
    return isinstance(thing, Route) and thing.space == HOST


def _beside(thing: Any, there: Any, about: Set[str], published: Iterable[Publish]) -> Any:
    """The planned object; of a table and of held ports, which are shared, only what concerns the nodes."""
    if isinstance(thing, Firewall):
        return shared_table(thing, there if isinstance(there, Firewall) else None, about)
    if isinstance(thing, HeldPorts):
        mine = {(publish.protocol, str(publish.host_port)) for publish in published}
        ours = {port for port in thing.ports if tuple(port.split("/")[::2]) in mine}
        others = there.ports if isinstance(there, HeldPorts) else ()
        return thing._replace(ports=tuple(sorted({*others, *ours})))
    return thing


def _upheld(things: list[Any], there: Fabric) -> list[Any]:
    """Without what depends on a removed object, or reached into a namespace that is gone (a guest's).

    And without a supervisor that has nothing to supervise.
    """
    before = {name for thing in there.values() for name in thing.names}
    before.update(need for thing in things for need in thing.needs if need.space == "namespace")
    while True:
        lost = before - {name for thing in things for name in thing.names}
        kept = [thing for thing in things if lost.isdisjoint(thing.needs)]
        if len(kept) == len(things):
            break
        things = kept
    programs = any(isinstance(thing, Container) for thing in things)
    return [thing for thing in things if programs or not isinstance(thing, Supervisor)]
