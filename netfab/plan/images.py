"""Nodes with what their images say: the id in place of the name, and the program where the file has none.

The caller has resolved the names; from here on a plan uses digests, so that every host runs the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from netfab.errors import PlanError
from netfab.topology.schema import Node, Topology
from netfab.tuples import NamedTuple

if TYPE_CHECKING:
    from netfab.topology.program import Config


class Meant(NamedTuple):
    """What an image's name means now."""

    id: str  # `sha256:…`, or the path of a directory
    config: Config


def wanted(topology: Topology) -> dict[str, Node]:
    """Every image that a node names, with the first such node."""
    found: dict[str, Node] = {}
    for node in topology.nodes.values():
        if node.image != "host" and not node.attach:
            found.setdefault(node.image, node)
    return found


def with_images(topology: Topology, known: Mapping[str, Meant | None]) -> Topology:
    """The topology with each node's image resolved; None: it is not here, so its program is unknown."""
    if not known:
        return topology
    nodes = {
        name: _resolved(node, known[node.image]) if node.image in known else node
        for name, node in topology.nodes.items()
    }
    return topology._replace(nodes=nodes)


def _resolved(node: Node, meant: Meant | None) -> Node:
    if meant is None:
        return node if node.command is not None else node._replace(command=(f"the program of {node.image}",))
    config = meant.config
    entrypoint = config.entrypoint if node.entrypoint is None else node.entrypoint
    command = node.command
    if command is None:  # the image's arguments are not for another entrypoint
        command = config.cmd if node.entrypoint is None else ()
    elif not command:  # `command: none`
        return node._replace(image=meant.id)
    return node._replace(
        image=meant.id,
        entrypoint=(),
        command=entrypoint + command,
        env=tuple((dict(config.env) | dict(node.env)).items()),
        user=node.user or config.user,
        workdir=node.workdir or config.workdir,
        stop_signal=config.stop_signal,
    )


def without_any_program(topology: Topology, known: Mapping[str, Meant | None]) -> Iterator[PlanError]:
    """Nodes whose image has no program, and whose file gives none."""
    for node in topology.nodes.values():
        meant = known.get(node.image)
        silent = meant and meant.id != node.image and not meant.config.argv
        if silent and node.command is None and not node.entrypoint:
            yield PlanError(
                f"image {node.image} does not say what to run",
                at=node.at.of("image"),
                hint="write a `command`; `command: none` for a node without a program",
            )
