"""A topology as a graph: networks and nodes, and what joins them. Pure text."""

from __future__ import annotations

from collections.abc import Iterator

from netfab.topology.schema import ContainerMode, Network, NodeGateway, Topology
from netfab.tuples import NamedTuple


class Edge(NamedTuple):
    """A cable, or membership in another node's namespace."""

    a: str
    b: str
    label: str


def edges(topology: Topology) -> Iterator[Edge]:
    """The edges of the topology."""
    for node in topology.nodes.values():
        for attachment in node.attachments:
            label = "gateway" if _is_gateway(topology.networks[attachment.network], node.name) else ""
            yield Edge(node.name, attachment.network, label)
        if isinstance(node.mode, ContainerMode):
            yield Edge(node.name, node.mode.node, "same namespace")
    for link in topology.links:
        yield Edge(link.ends[0].node, link.ends[1].node, "")


def _is_gateway(network: Network, node: str) -> bool:
    return isinstance(network.gateway, NodeGateway) and network.gateway.node == node


def mermaid(topology: Topology) -> str:
    """A flowchart (mermaid.js.org/syntax/flowchart): networks are round, nodes are boxes."""
    lines = ["graph LR", *(f'  {_id(name)}(("{name}"))' for name in topology.networks)]
    lines += [f'  {_id(name)}["{name}"]' for name in topology.nodes]
    for a, b, label in edges(topology):
        lines.append(f"  {_id(a)} ---{f'|{label}|' if label else ''} {_id(b)}")
    return "\n".join(lines) + "\n"


def dot(topology: Topology) -> str:
    """A graph for graphviz."""
    lines = ["graph netfab {", *(f'  "{name}" [shape=ellipse];' for name in topology.networks)]
    lines += [f'  "{name}" [shape=box];' for name in topology.nodes]
    for a, b, label in edges(topology):
        attributes = f' [label="{label}"]' if label else ""
        lines.append(f'  "{a}" -- "{b}"{attributes};')
    return "\n".join([*lines, "}"]) + "\n"


def _id(name: str) -> str:
    # `end` is a word of mermaid's; hyphens are fine in quotes only.
    return "n_" + name.replace("-", "_")
