"""Which host has what: nodes by `runs_on`, networks and links by their nodes. Refuses what can't be split.

tunnels.py and placement.py take it from there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from netfab.errors import Location, NetfabError, PlanError, raise_all
from netfab.plan.seats import segment_names
from netfab.topology.schema import ContainerMode, HostGateway, Network, Node, Topology
from netfab.tuples import NamedTuple


class Placement(NamedTuple):
    """The host of each node and segment. Hosts are in file order."""

    nodes: Mapping[str, str]  # node -> host
    segments: Mapping[str, tuple[str, ...]]  # network or link -> hosts


def place(topology: Topology) -> Placement:
    """Place everything. Raises PlanError, with all errors at once."""
    errors: list[NetfabError] = []
    nodes = _nodes(topology, errors)
    raise_all(errors)
    segments = {network.name: _hosts_of(topology, network, nodes) for network in topology.networks.values()}
    for name, link in zip(segment_names(topology), topology.links, strict=True):
        on = {nodes[end.node] for end in link.ends if not end.is_outside}
        segments[name] = tuple(host for host in topology.hosts if host in on)
        if len(on) > 1:
            message = f"the link {name} joins nodes on {_listed(segments[name])}"
            hint = "a network of its own spans hosts, with `gateway: none` if need be"
            errors.append(PlanError(message, at=link.at.own, hint=hint))
    errors += _waiting_for_others(topology, nodes)
    for network in topology.networks.values():
        errors += _can_not_span(network, segments[network.name])
    raise_all(errors)
    return Placement(nodes, segments)


def _nodes(topology: Topology, errors: list[NetfabError]) -> dict[str, str]:
    """The host of each node: a list is dealt to an entry's nodes; nodes in one namespace share a host."""
    dealt: Counter[Location] = Counter()
    homes = [host.name for host in topology.hosts.values() if not host.ssh]
    found: dict[str, str] = {}
    for node in topology.nodes.values():
        if node.runs_on:
            found[node.name] = node.runs_on[dealt[node.at.own] % len(node.runs_on)]
            dealt[node.at.own] += 1
        elif not isinstance(node.mode, ContainerMode):
            if len(homes) == 1:
                found[node.name] = homes[0]
            else:
                errors.append(_nowhere(topology, node, homes))
    for node in topology.nodes.values():
        holder = node
        while isinstance(holder.mode, ContainerMode):
            holder = topology.nodes[holder.mode.node]
        there = found.get(holder.name, "")
        if found.setdefault(node.name, there) != there and there:
            message = (
                f"{node.name} runs on {found[node.name]}, and has the network of {holder.name} on {there}"
            )
            errors.append(PlanError(message, at=node.at.of("runs_on")))
    return found


def _nowhere(topology: Topology, node: Node, homes: list[str]) -> PlanError:
    why = f"{_listed(homes)} have no `ssh`" if homes else "every host has an `ssh`"
    first = next(iter(topology.hosts))
    message = f"on which host does {node.name} run? It has no `runs_on`, and {why}"
    return PlanError(message, at=node.at.own, hint=f"write `runs_on: {first}`, or under `defaults` for all")


def _hosts_of(topology: Topology, network: Network, nodes: Mapping[str, str]) -> tuple[str, ...]:
    on = {
        nodes[node.name]
        for node in topology.nodes.values()
        for a in node.attachments
        if a.network == network.name
    }
    named = {*network.hosts, *(host for host, _ in network.uplink)}
    return tuple(host for host in topology.hosts if host in on or host in named)


def _waiting_for_others(topology: Topology, nodes: Mapping[str, str]) -> Iterator[PlanError]:
    for node in topology.nodes.values():
        for wanted in node.depends_on:
            others = [other for other in topology.nodes.values() if wanted in (other.name, other.base)]
            for other in others:
                if nodes[other.name] != nodes[node.name]:
                    there = f"{other.name} on {nodes[other.name]}"
                    message = f"{node.name} on {nodes[node.name]} can't wait for {there}"
                    yield PlanError(message, at=node.at.of("depends_on"))


def _can_not_span(network: Network, hosts: tuple[str, ...]) -> Iterator[PlanError]:
    """Why a network can't be on several hosts."""
    if len(hosts) < 2:
        return
    on = _listed(hosts)
    uplinks = [host for host in hosts if host in dict(network.uplink) or "" in dict(network.uplink)]
    if network.external:
        message = f"{network.name} is on {on}, and a tunnel is put on no bridge that is somebody else's"
        yield PlanError(message, at=network.at.of("external"))
    elif network.vxlan is None:
        if len(uplinks) < len(hosts):
            message = f"{network.name} is on {on}, and `vxlan: none` keeps it on one host"
            yield PlanError(message, at=network.at.of("vxlan"))
        if network.encrypt:
            message = f"{network.name} goes from host to host by a LAN, where nothing encrypts it"
            yield PlanError(message, at=network.at.of("encrypt"))
    elif len(uplinks) > 1:
        message = (
            f"{network.name} has a tunnel and an uplink on {_listed(uplinks)}: frames would loop forever"
        )
        hint = "one host with an uplink, or `vxlan: none` where the uplinks are on one LAN"
        yield PlanError(message, at=network.at.of("uplink"), hint=hint)
    if network.isolated and not isinstance(network.gateway, HostGateway):
        message = f"{network.name} is `isolated` and on {on}: each host needs its gateway"
        yield PlanError(message, at=network.at.of("isolated"), hint="`gateway: host` is on each of them")


def _listed(names: tuple[str, ...] | list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
