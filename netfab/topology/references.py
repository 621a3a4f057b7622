"""Rules of references: what an entry refers to exists, is of the right kind, and forms no cycle."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from netfab.errors import Location, TopologyError
from netfab.topology.grammar import quoted, shown
from netfab.topology.interfaces import interface_names
from netfab.topology.nodes import texts_of
from netfab.topology.schema import (
    Bridged,
    ContainerMode,
    Link,
    Node,
    NodeGateway,
    Topology,
)
from netfab.topology.suggest import nearest
from netfab.topology.unread import Unread
from netfab.tuples import NamedTuple

_PLACEHOLDER = r"\{(?:ip6?|net|peer):([^{}]*)\}"


class Names(NamedTuple):
    """The names that can be referred to."""

    topology: Topology
    bases: Mapping[str, tuple[str, ...]]  # the nodes of each entry with a `scale`
    unread: Unread

    def missing_node(self, name: str, at: Location) -> Iterator[TopologyError]:
        """An error unless it is the name of one node."""
        if name in self.bases:
            one = self.bases[name][0]
            yield TopologyError(f"{name} means all the nodes of a `scale`; name one: `{one}`", at=at)
        else:
            yield from self.missing("node", name, self.topology.nodes, at)

    def missing(self, kind: str, name: str, known: Collection[str], at: Location) -> Iterator[TopologyError]:
        """An error unless a network, node or host has that name, or an entry that failed would have."""
        if name not in known and name not in self.unread.names(f"{kind}s"):
            near = nearest(name, known)
            meant = f"; did you mean `{near}`?" if near else ""
            yield TopologyError(f"there is no {kind} {quoted(name)}{meant}", at=at)


def broken_references(
    topology: Topology, bases: Mapping[str, tuple[str, ...]], unread: Unread
) -> Iterator[TopologyError]:
    """Every name that does not exist, or can't be used where it stands."""
    names = Names(topology, bases, unread)
    yield from _shared_names(names)
    for node in topology.nodes.values():
        yield from _of_node(node, names)
    for network in topology.networks.values():
        at = network.at.of("gateway")
        if isinstance(network.gateway, NodeGateway):
            yield from names.missing_node(network.gateway.node, at)
        hosts = {host: network.at.of("uplink") for host, _ in network.uplink if host}
        for host, place in {**hosts, **dict.fromkeys(network.hosts, network.at.of("hosts"))}.items():
            yield from names.missing("host", host, topology.hosts, place)
    for link in topology.links:
        yield from _of_link(link, names)
    yield from _cycles(topology)


def _shared_names(names: Names) -> Iterator[TopologyError]:
    """A node and a network never share a name, nor do a `scale` entry and a node."""
    nodes, networks = names.topology.nodes, names.topology.networks
    for name in names.bases.keys() & nodes.keys():
        first, second = nodes[names.bases[name][0]].at.own, nodes[name].at.own
        yield TopologyError(
            f"{name} means all nodes of the `scale` at {first}; choose another name", at=second
        )
    for name, network in networks.items():
        node = nodes.get(name) or nodes.get(next(iter(names.bases.get(name, ())), ""))
        if node:
            yield TopologyError(
                f"{name} is a network too, at {network.at.own}; a node and a network never share a name",
                at=node.at.own,
            )


def _of_node(node: Node, names: Names) -> Iterator[TopologyError]:
    topology, at = names.topology, node.at
    for attachment in node.attachments:
        yield from names.missing("network", attachment.network, topology.networks, attachment.at.own)
    for name in node.depends_on:
        if name == node.name:
            yield TopologyError(f"{name} can't wait for itself", at=at.of("depends_on"))
        yield from names.missing_node(name, at.of("depends_on"))
    for name in node.dns:
        if name[0].isalpha() and ":" not in name:
            yield from names.missing_node(name, at.of("dns"))
    for route in node.routes:
        if isinstance(route.via, str):
            yield from names.missing_node(route.via, route.at)
    if type(node.mode) is ContainerMode:
        if node.mode.node == node.name:
            message = f"{node.name} can't have its network of itself; leave `mode` out"
            yield TopologyError(message, at=at.of("mode"))
        yield from names.missing_node(node.mode.node, at.of("mode"))
    for host in node.runs_on:
        yield from names.missing("host", host, topology.hosts, at.of("runs_on"))


def _of_link(link: Link, names: Names) -> Iterator[TopologyError]:
    for end in link.ends:
        if end.is_outside:
            continue
        at = end.at.of("node")
        yield from names.missing_node(end.node, at)
        node = names.topology.nodes.get(end.node)
        if node is None:
            continue
        if node.base in names.bases:
            yield TopologyError(
                f"{node.name} is one of a `scale`, whose nodes have no links; write a range", at=at
            )
        if type(node.mode) is not Bridged:
            yield TopologyError(
                f"{node.name} has no network of its own (`mode:` at {node.at.of('mode')})", at=at
            )
        if node.attach:
            yield TopologyError(f"{node.name} is run by somebody else (`attach`) and has no links", at=at)
    first, second = link.ends
    if first.node == second.node:
        yield TopologyError(
            f"both ends are on {shown(first.node)}; a link joins two nodes", at=second.at.of("node")
        )
    elif first.is_outside and second.is_outside:
        yield TopologyError("neither end is on a node; a link has at least one there", at=first.at.own)


def _cycles(topology: Topology) -> Iterator[TopologyError]:
    """Cycles of `container:` or `depends_on`."""
    nodes = topology.nodes
    modes = {name: (node.mode.node,) for name, node in nodes.items() if type(node.mode) is ContainerMode}
    waits = {name: node.depends_on for name, node in nodes.items() if node.depends_on}
    for key, edges in (("mode", modes), ("depends_on", waits)):
        if cycle := _cycle(edges):
            word = "has the network of" if key == "mode" else "waits for"
            yield TopologyError(
                f"a cycle: {f' {word} '.join((*cycle, cycle[0]))}", at=nodes[cycle[0]].at.of(key)
            )


def _cycle(edges: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The first cycle of more than one, in the order of the edges; in linear time and without recursion."""
    done: set[str] = set()
    for start in edges:
        path: dict[str, Iterator[str]] = {}
        follow: str | None = start
        while follow is not None:
            if follow not in path and follow not in done:
                path[follow] = iter(edges.get(follow, ()))
            elif follow in path:
                circle = list(path)[list(path).index(follow) :]
                if len(circle) > 1:
                    return tuple(circle)
            follow = None
            while path and follow is None:
                last = next(reversed(path))
                follow = next(path[last], None)
                if follow is None:
                    done.add(last)
                    del path[last]
    return ()


def unknown_placeholders(
    topology: Topology, bases: Mapping[str, tuple[str, ...]], unread: Unread
) -> Iterator[TopologyError]:
    """`{ip:X}` and the like in a node's texts, whose X is no interface of it, no network and no node."""
    links: dict[str, list[Link]] = {}
    known_names = {*topology.nodes, *topology.networks, *bases}
    known_names.update(unread.names("nodes"), unread.names("networks"))
    for node in topology.nodes.values():
        if unread.links or unread.any_of(node, "networks"):
            continue
        for text, at in texts_of(node):
            for name in re.findall(_PLACEHOLDER, text) if "{" in text else ():
                if name in known_names:
                    continue
                links = links or _links_by_node(topology.links)
                interfaces = _interfaces_of(node, links.get(node.name, ()))
                if name not in interfaces:
                    known = ", ".join(interfaces) or "none"
                    yield TopologyError(
                        f"{quoted(name)} in a placeholder is not a network, a node "
                        f"or one of the interfaces here ({known})",
                        at=at,
                    )


def _links_by_node(links: Iterable[Link]) -> dict[str, list[Link]]:
    found: dict[str, list[Link]] = {}
    for link in links:
        for end in link.ends:
            found.setdefault(end.node, []).append(link)
    return found


def _interfaces_of(node: Node, links: Iterable[Link]) -> list[str]:
    """The node's interfaces: on networks in written order, then on links."""
    written = [attachment.port.name for attachment in node.attachments]
    written += [end.port.name for link in links for end in link.ends if end.node == node.name]
    return interface_names(written, bool(node.attach))
