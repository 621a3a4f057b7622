"""What every kind of kernel object has in common: names, what it needs, messages out and in.

The engine knows this file and no kind. A kind is a NamedTuple of plain values with the attributes of
`KernelObject`; values are compared, so two objects are the same when type and fields are. Nothing here opens
a socket or a file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence, Set
from functools import cache
from typing import Any, Protocol, Self

from netfab.objects.decode import decoder
from netfab.objects.texts import put_back, taken_out
from netfab.tuples import NamedTuple

HOST = "host"
EVERY = "*"  # in `after`: every name of that space
LASTING = "**"  # the same, and these are deleted only after it


class Name(NamedTuple):
    """What only one object at a time can hold: ("host", "br0"), ("node shop.web", "eth0").

    A space is the scope in which the text is unique: a network namespace ("host", "node FABRIC.NODE"), or
    something within one, as its routing table or its VNIs.
    """

    space: str
    text: str

    def __str__(self) -> str:
        if self.space == "firewall":
            return f"the {self.text} table"
        return self.text if self.space in (HOST, "namespace") else f"{self.text} of {node_of(self.space)}"


@cache
def node_space(fabric: str, node: str) -> str:
    """The space of the links, addresses and routes inside a node: its network namespace."""
    return f"node {fabric}.{node}"


def node_of(space: str) -> str:
    """The name of the node whose space that is; other spaces are returned as they are."""
    return space.partition(".")[2] if space.startswith("node ") else space


def namespace_of(space: str) -> tuple[Name, ...]:
    """The namespace that anything in that space needs: none on the host."""
    return () if space == HOST else (Name("namespace", space.removeprefix("node ")),)


def by_kind(fabrics: Iterable[Fabric]) -> dict[str, list[Any]]:
    """All of their objects, by the names of their kinds."""
    found: dict[str, list[Any]] = {}
    for fabric in fabrics:
        for thing in fabric.values():
            found.setdefault(type(thing).__name__, []).append(thing)
    return found


def spaces_of(*things: KernelObject) -> set[str]:
    """The spaces that objects are in or depend on: "host", "node shop.web"."""
    names = {name for thing in things for name in (*thing.names, *thing.needs)}
    return {f"node {name.text}" if name.space == "namespace" else name.space for name in names}


def is_network(space: str) -> bool:
    """Whether that space is a network namespace, and not one of files, programs or tables."""
    return space == HOST or space.startswith("node ")


class Op(Protocol):
    """One step of a change, as plain data; `space` is where it is carried out."""

    @property
    def space(self) -> str: ...


Hook = Callable[[Op], bool]  # called before each step; True corrupts it, for tests: the kernel refuses it


def no_hook(_: Op) -> bool:
    """Corrupts nothing."""
    return False


class KernelObject(Protocol):
    """One thing that a kernel holds. Kinds are hashable tuples; their class name is their kind's name.

    A kind may have more: `public`, `asks`, `feature`, `restarts`, `is_satisfied_by`, `differs_from`
    (difference.py), and `for_peers`: other hosts of the fabric rely on it, so it is made before anything that
    they would reach.
    """

    @property
    def fixed(self) -> Hashable:
        """What the kernel can't change: if it differs, the object is replaced."""

    @property
    def names(self) -> tuple[Name, ...]:
        """Every name it holds; the first is its identity."""

    @property
    def needs(self) -> tuple[Name, ...]:
        """Names that must be held before it can exist."""

    @property
    def after(self) -> tuple[Name, ...]:
        """Names that are made before it, if at all; replacing their holder does not replace this one."""

    @property
    def within(self) -> tuple[Name, ...]:
        """What it ends with: if all of these end in the same change set, its own delete sends nothing."""

    def create(self) -> list[Op]:
        """The steps that make it."""

    def update(self, before: Any) -> list[Op]:
        """From `before`, of the same kind and with equal `fixed`, to this."""

    def delete(self) -> list[Op]:
        """The steps that delete it; one that is gone already is no error."""

    @classmethod
    def read(cls, dump: Dump) -> Iterator[Self]:
        """Every object of this kind in the dump that the fabric owns: the inverse of create."""

    @classmethod
    def unsettled(cls, dump: Dump) -> Iterator[Name]:
        """Links that are not ready for traffic yet, but will be without our doing."""

    def __str__(self) -> str:
        """Kind and name, in the words of the field: `bridge br0`."""


class Space(NamedTuple):
    """What was read from one network namespace: Links, AddressMessages and RouteMessages."""

    links: list[Any]
    addresses: list[Any]  # with netfab's mark
    routes: list[Any]  # likewise
    known_by: bytes = b""  # a fingerprint of all this; none for the host, parts of which change by themselves


class Dump(NamedTuple):
    """Everything that was read, raw, as input for the `read` of each kind."""

    fabric: str
    spaces: Mapping[str, Space]
    links: Mapping[tuple[str, int], Name]  # (space, ifindex) -> link, of all spaces
    marked: Sequence[tuple[str, Any]]  # (space, link) of every link with the fabric's mark, lo excepted
    owned: Set[tuple[str, int]]  # links with the fabric's mark; in its nodes all but those of other fabrics
    files: Mapping[str, tuple[int, str]]  # path -> (mode, content), below the fabric's run directory
    sysctls: Mapping[tuple[str, str], str]  # (space, key) -> value, of the requested keys
    originals: Mapping[str, str]  # key of a borrowed sysctl of the host -> its original value
    tables: Sequence[Any] = ()  # nft tables of the fabric, as `nft -j list table` prints them
    containers: Iterable[Any] = ()  # every container of which anything is left
    passages: Sequence[Any] = ()  # rules of Docker's chain for the rules of others, as nft prints them
    qdiscs: Mapping[str, Sequence[Any]] = {}  # space -> its QdiscMessages, if requested
    neighbours: Mapping[str, Sequence[Any]] = {}  # space -> its NeighbourMessages, if requested
    clients: Iterable[Any] = ()  # a Dhcp for each running client
    guests: Mapping[str, Any] = {}  # space -> the Guest that it is
    nics: Mapping[str, Any] = {}  # name of a NIC that is moved, or was to be -> its Original
    uplinks: Mapping[str, Any] = {}  # name of a NIC that is lent, or was to be -> its Lent
    supervised: bool = False  # whether there are containers, and the running ones have a running supervisor
    vlans: Mapping[int, tuple[Any, ...]] = {}  # ifindex of a port of the host -> an Entry for each VLAN
    switches: Sequence[Any] = ()  # a Switch for each bridge of Open vSwitch
    xfrm: Sequence[Any] = ()  # XfrmMessages with the fabric's mark
    bgp: str = ""  # the running configuration of the fabric's bgpd on the host; "": none runs
    held: Sequence[str] | None = None  # ports that the supervisor holds; None: no sign of held ports


EMPTY = Dump("", {}, {}, (), frozenset(), {}, {}, {})


class Fabric(dict[Name, Any]):
    """A named set of kernel objects, by identity: what should be, or what is."""

    def __init__(self, name: str, objects: Iterable[Any] = ()) -> None:
        super().__init__((thing.names[0], thing) for thing in objects)
        self.name = name

    def sharing(self, objects: Iterable[Any]) -> Fabric:
        """A fabric of these objects, reusing its own if they are equal: half the memory."""
        shared = Fabric(self.name)
        for thing in objects:
            identity = thing.names[0]
            own = self.get(identity)
            shared[identity] = own if own == thing and type(own) is type(thing) else thing
        return shared

    def public(self) -> Fabric:
        """The fabric without its objects' secrets; itself, if it has none."""
        if not any(hasattr(thing, "public") for thing in self.values()):
            return self
        return Fabric(self.name, (getattr(thing, "public", thing) for thing in self.values()))

    def without(self, names: Iterable[Name]) -> Fabric:
        """The fabric without the holders of these names, and all that depends on them."""
        gone = set(names)
        left = [thing for thing in self.values() if gone.isdisjoint(thing.names)]
        while ending := [thing for thing in left if not gone.isdisjoint(thing.needs)]:
            gone.update(name for thing in ending for name in thing.names)
            left = [thing for thing in left if gone.isdisjoint(thing.names)]
        return Fabric(self.name, left)

    def to_json(self) -> str:
        """One line of JSON, the kinds first.

        Fields are arrays in the kind's order, so that a later version may add fields at the end. Long
        texts are stored apart.
        """
        texts: dict[str, int] = {}
        objects = [[type(thing).__name__, *taken_out(thing, texts)] for thing in self.values()]
        return json.dumps(
            {
                "name": self.name,
                "kinds": sorted({type(thing).__name__ for thing in self.values()}),
                "objects": objects,
                "texts": list(texts),
            },
            default=cache(str),  # many objects have the same address or prefix
            separators=(",", ":"),
        )

    @staticmethod
    def mentioned(text: str, kind: str) -> bool:
        """Whether the text of to_json has an object of that kind, without parsing it all."""
        return f'"{kind}"' in text[: text.find('"objects":')]

    @classmethod
    def from_json(cls, text: str, kinds: Iterable[type[Any]]) -> Fabric:
        """The inverse of to_json, without objects of other kinds.

        Fields missing in the text get their defaults.
        """
        by_name = {kind.__name__: kind for kind in kinds}
        parsed = json.loads(text)
        texts = parsed.get("texts", ())
        found = (
            (by_name[kind], put_back(fields, taken, texts))
            for kind, fields, *taken in parsed["objects"]
            if kind in by_name
        )
        return cls(parsed["name"], (decoder(kind)(fields) for kind, fields in found))
