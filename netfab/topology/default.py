"""The host's default fabric: what `netfab run` was asked for, as a topology like any other. Pure.

Each container is a node, kept as the keys that a topology file would have for it; those on no other network
are on one of the host's own, made as Docker makes docker0. The planner and the engine are those of a file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from netfab.errors import Location, NetfabError, TopologyError, raise_all
from netfab.topology import DEFAULT
from netfab.topology.nodes import Nodes, Ports
from netfab.topology.reading import Run
from netfab.topology.references import broken_references
from netfab.topology.rules import contradictions
from netfab.topology.schema import (
    Attachment,
    ByCommand,
    Network,
    Node,
    Places,
    Topology,
    default_pools,
)
from netfab.topology.tree import Map, Scalar, Sequence, Tree
from netfab.topology.unread import Unread
from netfab.tuples import NamedTuple

NAME: Final = DEFAULT
OWN: Final = "bridge"  # the default network, named as in docker
OWN_BRIDGE: Final = "netfab0"
NOWHERE: Final = Location("", 0, 0, "")  # not in any file
_ANY: Final = "net"  # the name in a container's keys of its only network
_A_COMMAND: Final = {"command": ["true"]}  # in place of the real one, which no reader is to interpret
_NOTHING: Final = Map({}, {}, 0, 0)


class Wanted(NamedTuple):
    """A container that a command asked for. Kept as text, so the fields are plain."""

    name: str
    keys: dict[str, Any]  # of a node, as in files; its only network is called `net`
    image: str  # host, a directory, or an image's id
    title: str  # the image's displayed name
    command: tuple[str, ...] | None  # None: the image's own
    env: tuple[tuple[str, str], ...] = ()
    network: str = OWN  # or FABRIC/NETWORK; "": no bridged one
    asked: ByCommand = ByCommand()
    number: int = 0  # sequence number

    def to_json(self) -> str:
        """One line; fields are an array, so that a later version can append some."""
        return json.dumps(self, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Wanted:
        """The inverse of to_json."""
        read = cls(*json.loads(text))
        return read._replace(
            command=read.command and tuple(read.command),
            env=tuple((name, value) for name, value in read.env),
            asked=ByCommand(*read.asked),
        )


class WrongWord(NetfabError):
    """An invalid option of `netfab run`. Carries the key that a file would have for it."""

    def __init__(self, error: TopologyError) -> None:
        super().__init__(error.message, hint=error.hint)
        keys = (error.at.path if error.at else "").split(".")[1:]
        del keys[: 2 * (keys[:2] == ["networks", _ANY])]  # the key is one of its port there
        self.key = keys[0].partition("[")[0] if keys else ""


def topology_of(wanted: Iterable[Wanted], networks: Iterable[str]) -> Topology:
    """Everything asked for. `networks`: FABRIC/NETWORK of all other fabrics.

    A container whose network is gone has none. Raises WrongWord, or Several of them.
    """
    known = sorted(wanted, key=lambda one: one.number)
    there = {OWN, *networks}
    run = Run()
    run.files.add("", "/")
    nodes = Nodes(run, _NOTHING, _NOTHING, Ports())
    for one in known:
        run.attempt(
            nodes.read, one.name, Scalar(one.name, False, 0, 0), _tree(one.keys | _A_COMMAND), one.name
        )
    _raise(run.errors)
    used = dict.fromkeys(one.network for one in known if one.network in there)
    topology = Topology(
        name=NAME,
        at=Places(NOWHERE),
        pools=default_pools(NOWHERE),
        avoid=(),
        networks={_called(name): _network(name) for name in used},
        nodes={one.name: _node(nodes.nodes[one.name], one, there) for one in known},
        links=(),
        hosts={},
        checks=(),
        store=None,
        reserved=tuple(run.reserved),
        asked=tuple(("container", one.name, one.to_json()) for one in known),
    )
    _raise(_wrong_together(topology))
    return topology


def _wrong_together(topology: Topology) -> Iterator[TopologyError]:
    unread = Unread()
    yield from broken_references(topology, {}, unread)
    yield from contradictions(topology, unread)


def _raise(errors: Iterable[TopologyError]) -> None:
    raise_all(WrongWord(error) for error in errors)


def _called(network: str) -> str:
    """A network's name here: a slash would be read as separating a node below it."""
    return ".".join(reversed(network.split("/")))


def _network(name: str) -> Network:
    if name == OWN:
        return Network(OWN, Places(NOWHERE), bridge=OWN_BRIDGE)
    return Network(_called(name), Places(NOWHERE), external=name)


def _node(node: Node, one: Wanted, there: Iterable[str]) -> Node:
    attachments = tuple(
        Attachment(_called(one.network), each.port, each.at)
        for each in node.attachments
        if one.network in there
    )
    return node._replace(
        attachments=attachments,
        publish=node.publish if attachments else (),
        image=one.image,
        command=one.command,
        env=one.env,
        by_command=one.asked,
    )


def on_its_network(port: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a container on a network, with those of its port there."""
    return {"networks": {_ANY: dict(port)}}


def _tree(value: Any) -> Tree:
    """Plain data as a tree, as if it had been read from a file."""
    if isinstance(value, Mapping):
        keys = {key: Scalar(key, False, 0, 0) for key in value}
        return Map({key: _tree(each) for key, each in value.items()}, keys, 0, 0)
    if isinstance(value, list | tuple):
        return Sequence([_tree(each) for each in value], 0, 0)
    return Scalar(str(value), False, 0, 0)
