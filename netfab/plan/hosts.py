"""What names mean inside the nodes: hosts files and resolv.conf, one for each distinct content."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from netfab.objects.file import File
from netfab.plan.facts import Facts
from netfab.plan.layout import Layout, Nic
from netfab.plan.names import text_hash
from netfab.topology.schema import (
    Address,
    ContainerMode,
    ExternalGateway,
    HostGateway,
    HostMode,
    Network,
    Node,
    Topology,
)

_LOCAL = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"


class Names(NamedTuple):
    """Where a node finds names: paths of its two files."""

    hosts: str
    resolv: str


def names_of(
    topology: Topology, layout: Layout, facts: Facts, directory: str
) -> tuple[dict[str, Names], dict[str, File]]:
    """For each node its files; and the files, by path. Nodes on the same networks share them."""
    files: dict[str, File] = {}
    names: dict[str, Names] = {}

    def keep(kind: str, key: str, text: Callable[[], str]) -> str:
        # Named for what it is for, not for what is in it: a running program has it mounted and sees it change.
        path = f"{directory}/{kind}.{text_hash(key)}"
        if path not in files:
            files[path] = File(path, text())
        return path

    for node in topology.nodes.values():
        nics = layout.nics.get(namespace_holder(topology, node).name, ())
        seen = tuple(dict.fromkeys(nic.segment for nic in nics))
        out = isinstance(node.mode, HostMode) or has_way_out(layout, nics)
        names[node.name] = Names(
            keep("hosts", repr(seen), partial(hosts_text, topology, layout, seen)),
            keep(
                "resolv",
                repr((node.dns, out, seen if node.dns else ())),
                partial(resolv_text, topology, layout, facts, node, seen, out),
            ),
        )
    return names, files


def namespace_holder(topology: Topology, node: Node) -> Node:
    """The node whose network namespace this one is in: itself, or the end of its `container:` chain."""
    while isinstance(node.mode, ContainerMode):
        node = topology.nodes[node.mode.node]
    return node


def hosts_text(topology: Topology, layout: Layout, segments: tuple[str, ...]) -> str:
    """A hosts file (hosts(5)) for nodes that are on these segments.

    A name is the node's loopback, else its address on a shared segment, else its first; `host` is the bridge.
    """
    lines = [_LOCAL]
    gateways = [i.ip for name in segments for i in layout.segments[name].host_addresses]
    lines += [f"{address}\thost\n" for address in gateways[:2]]
    for node in topology.nodes.values():
        addresses = resolved(topology, layout, node, segments)
        names = node.name if node.base == node.name else f"{node.name} {node.base}"
        lines += [f"{address}\t{names}\n" for address in addresses]
    return "".join(lines)


def resolved(topology: Topology, layout: Layout, node: Node, segments: tuple[str, ...]) -> list[Address]:
    """What the node's name means to somebody on these segments: at most one address per family."""
    if isinstance(node.mode, HostMode):
        return [i.ip for name in segments for i in layout.segments[name].host_addresses][:1]
    owner = namespace_holder(topology, node).name
    loopback = layout.loopbacks.get(owner, ())
    nics = sorted(layout.nics.get(owner, ()), key=lambda nic: nic.segment not in segments)
    ordered = [*loopback, *(interface.ip for nic in nics for interface in nic.addresses)]
    return [next(a for a in ordered if a.version == family) for family in (4, 6) if _has(ordered, family)]


def _has(addresses: list[Address], family: int) -> bool:
    return any(address.version == family for address in addresses)


def resolv_text(
    topology: Topology, layout: Layout, facts: Facts, node: Node, segments: tuple[str, ...], way_out: bool
) -> str:
    """A resolv.conf (resolv.conf(5)): `dns`, else the host's upstreams where there is a way out, else nothing."""
    servers: list[str] = []
    for server in node.dns:
        if server in topology.nodes:
            servers += map(str, resolved(topology, layout, topology.nodes[server], segments))
        else:
            servers.append(server)
    if not node.dns and way_out:
        servers = list(facts.nameservers)
    return "".join(f"nameserver {server}\n" for server in servers)


def has_way_out(layout: Layout, nics: tuple[Nic, ...]) -> bool:
    """Whether packets to the outside get anywhere: a network that the host or an external router leads out of."""
    wishes = [layout.segments[nic.segment].wish for nic in nics]
    return any(
        isinstance(wish, Network)
        and not wish.internal
        and isinstance(wish.gateway, HostGateway | ExternalGateway)
        for wish in wishes
    )
