"""Name resolution inside the nodes: hosts files and resolv.conf, one for each distinct content."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial

from netfab.objects.file import File
from netfab.plan.facts import Facts
from netfab.plan.layout import Layout
from netfab.plan.names import text_hash
from netfab.plan.seats import argv_of
from netfab.topology.schema import Address, ContainerMode, HostMode, Node, Topology
from netfab.tuples import NamedTuple

_LOCAL = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"


class Names(NamedTuple):
    """A node's files for name resolution: their two paths."""

    hosts: str
    resolv: str


def names_of(
    topology: Topology,
    layout: Layout,
    facts: Facts,
    table: HostsTable,
    way_out: Collection[str],
    directory: str,
) -> tuple[dict[str, Names], dict[str, File]]:
    """For each node its files; and the files, by path.

    Nodes on the same networks share them; a node with a program has its own, so that a new network changes
    the content that the program sees, not the file. `way_out`: the nodes whose packets leave the fabric.
    """
    files: dict[str, File] = {}
    names: dict[str, Names] = {}
    paths: dict[tuple[str, tuple[object, ...]], str] = {}

    def keep(kind: str, key: tuple[object, ...], text: Callable[[], str]) -> str:
        # Named by purpose, not by content: a running program has it mounted and sees changes.
        path = paths.get((kind, key))
        if path is None:
            path = paths[kind, key] = f"{directory}/{kind}.{text_hash(repr(key))}"
            files[path] = File(path, text())
        return path

    for node in map(topology.nodes.__getitem__, layout.here):
        if node.attach:  # it has files of its own
            names[node.name] = Names("", "")
            continue
        holder = namespace_holder(topology, node).name
        seen = tuple(dict.fromkeys([nic.segment for nic in layout.nics[holder]]))
        out = isinstance(topology.nodes[holder].mode, HostMode) or holder in way_out
        own = bool(argv_of(node))
        names[node.name] = Names(
            keep("hosts", (node.name,) if own else seen, partial(hosts_text, table, layout, seen)),
            keep(
                "resolv",
                (node.name,) if own else (node.dns, out, seen if node.dns else ()),
                partial(resolv_text, topology, layout, facts, node, seen, out),
            ),
        )
    return names, files


def namespace_holder(topology: Topology, node: Node) -> Node:
    """The node in whose network namespace this one is: itself, or the end of its `container:` chain."""
    while isinstance(node.mode, ContainerMode):
        node = topology.nodes[node.mode.node]
    return node


def hosts_text(table: HostsTable, layout: Layout, segments: tuple[str, ...]) -> str:
    """A hosts file (hosts(5)) for nodes on these segments. `host` is the host's bridge there."""
    return table.text(segments, tuple(host_addresses(layout, segments)))


class HostsTable:
    """Hosts files of all hosts. Lines are made once; those that depend on the asker, for each file."""

    def __init__(self, topology: Topology, layout: Layout) -> None:
        self._topology, self._layout = topology, layout
        self._texts: dict[tuple[tuple[str, ...], tuple[Address, ...]], str] = {}
        self._lines_on: dict[tuple[str, ...], str] = {}
        self._lines = {node.name: self._line(node, ()) for node in topology.nodes.values()}
        self._everywhere: list[Node] = []  # foreign to everybody: programs on the host itself
        self._on: dict[str, list[Node]] = defaultdict(list)  # possibly foreign, to those on that segment
        for node in topology.nodes.values():
            holder = namespace_holder(topology, node)
            if isinstance(holder.mode, HostMode):
                self._everywhere.append(node)
            segments = {nic.segment for nic in layout.nics[holder.name]}
            for segment in segments if len(segments) > 1 else ():
                self._on[segment].append(node)

    def text(self, segments: tuple[str, ...], host: tuple[Address, ...]) -> str:
        """The file for nodes on these segments, where the host has these addresses."""
        key = segments, host
        if key not in self._texts:
            own = "".join(f"{address}\thost\n" for address in host)
            self._texts[key] = _LOCAL + own + self._lines_seen_from(segments)
        return self._texts[key]

    def _lines_seen_from(self, segments: tuple[str, ...]) -> str:
        if (known := self._lines_on.get(segments)) is not None:
            return known
        near = dict.fromkeys(segments)
        again = {node.name: node for name in segments for node in self._on.get(name, ())}
        lines = dict(self._lines)
        for node in (*self._everywhere, *again.values()):
            lines[node.name] = self._line(node, near)
        text = self._lines_on[segments] = "".join(lines.values())
        return text

    def _line(self, node: Node, segments: Collection[str]) -> str:
        """A line for each family, with the name that all nodes of a `scale` share."""
        names = node.name if node.base == node.name else f"{node.name} {node.base}"
        addresses = resolved(self._topology, self._layout, node, segments)
        return "".join([f"{address}\t{names}\n" for address in addresses])


def resolved(topology: Topology, layout: Layout, node: Node, segments: Collection[str]) -> list[Address]:
    """What the node's name resolves to on these segments: at most one address per family.

    Its loopback, else its address on a shared segment, else its first.
    """
    holder = namespace_holder(topology, node)
    if isinstance(holder.mode, HostMode):
        return host_addresses(layout, segments, layout.runs_on.get(node.name))
    nics = layout.nics[holder.name]
    first = {address.version: address for address in reversed(layout.loopbacks.get(holder.name, ()))}
    for near in ([nic for nic in nics if nic.segment in segments], nics):
        for nic in near:
            for interface in nic.addresses:
                if interface.version not in first:
                    first[interface.version] = interface.ip
    return [first[version] for version in sorted(first)]


def host_addresses(layout: Layout, segments: Iterable[str], host: str | None = None) -> list[Address]:
    """The address of the host's bridge, or of another host, for these segments: one per family."""
    first: dict[int, Address] = {}
    for name in segments:
        segment = layout.segments[name]
        for interface in segment.host_addresses if host is None else segment.hosts.get(host, ()):
            first.setdefault(interface.version, interface.ip)
    return [first[version] for version in sorted(first)]


def resolv_text(
    topology: Topology, layout: Layout, facts: Facts, node: Node, segments: tuple[str, ...], way_out: bool
) -> str:
    """A resolv.conf(5): `dns`, else the host's upstreams if there is a way out, else nothing."""
    servers: Iterable[str] = facts.nameservers if way_out else ()
    if node.dns:
        servers = [address for server in node.dns for address in _servers(topology, layout, server, segments)]
    return "".join(f"nameserver {server}\n" for server in servers)


def _servers(topology: Topology, layout: Layout, server: str, segments: tuple[str, ...]) -> Iterator[str]:
    """The addresses of one entry of `dns`: a node or an address."""
    if server in topology.nodes:
        yield from map(str, resolved(topology, layout, topology.nodes[server], segments))
    else:
        yield server
