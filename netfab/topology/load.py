"""A topology file, whole: from its text to the Topology, with all that is wrong with it in one error.

Knows the keys of the top level and in which order entries can be read; each kind of entry has its own module.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

from netfab.errors import Location, TopologyError, raise_all
from netfab.topology import MAX_ERRORS, addresses, grammar, meanings
from netfab.topology.checks import CHECKS, expanded, unknown_ends
from netfab.topology.grammar import NAME, Wrong, shown
from netfab.topology.include import INCLUDE, Inclusion, Read, no_file
from netfab.topology.link import LINK_DEFAULTS, LINK_SCHEMA, links_of
from netfab.topology.merge import filled_tree, merged, part
from netfab.topology.network import NETWORK, network_of
from netfab.topology.node import NODE
from netfab.topology.nodes import Nodes, Ports
from netfab.topology.port import FLAG, SHARED, bounded
from netfab.topology.reading import (
    ANY_SCALAR,
    ENTRY_WEIGHT,
    EnoughErrors,
    Json,
    Reader,
    Record,
    Run,
    checked,
    list_of,
    listed,
    map_of,
    named_schema,
    parsed,
    pattern,
    read_record,
    record_schema,
    refused,
    scalar,
)
from netfab.topology.references import broken_references, unknown_placeholders
from netfab.topology.rules import contradictions
from netfab.topology.schema import (
    Attachment,
    HostEntry,
    Link,
    Network,
    Node,
    NodeGateway,
    Places,
    Pool,
    Prefix,
    Reserved,
    Topology,
    default_pools,
)
from netfab.topology.tree import Map, Scalar, Tree, weight
from netfab.topology.unread import Unread, keys_of

Place = Location | None
_NOTHING: Final = Map({}, {}, 1, 1)
_PLANNED_SIZES: Final = {4: 24, 6: 64}


def _pool(tree: Tree, path: str, run: Run) -> Pool:
    """`10.0.0.0/8`, or `{prefix: 10.64.0.0/10, size: 24}`."""
    if type(tree) is not Map:
        prefix: Prefix = _PREFIX.read(tree, path, run)
        return Pool(prefix, _default_size(prefix), run.at(tree, path))
    values = read_record(_POOL, tree, path, run).values
    if "prefix" not in values:
        raise run.error(tree, path, "a pool has a prefix: `{prefix: 10.64.0.0/10, size: 24}`")
    prefix = values["prefix"]
    size: int = values.get("size", _default_size(prefix))
    if not prefix.prefixlen <= size <= prefix.max_prefixlen - 1:
        raise run.error(tree, path, f"no subnet of size /{size} is in {prefix}")
    return Pool(prefix, size, run.at(tree, path))


def _default_size(prefix: Prefix) -> int:
    return max(prefix.prefixlen, _PLANNED_SIZES[prefix.version])


_PREFIX: Final = scalar(addresses.subnet, pattern(r"[0-9a-fA-F:.]+/\d+"))
_POOL: Final[dict[str, Reader[Any]]] = {"prefix": _PREFIX, "size": bounded(8, 127)}
_HOST: Final[dict[str, Reader[Any]]] = {
    "address": scalar(addresses.host_address, pattern("[0-9a-fA-F:.]+")),
    "ssh": scalar(str, ANY_SCALAR),
    "reflector": FLAG,
}
_KIND: Final[dict[str, Reader[Any]]] = {**NODE, "kind": refused("a kind has no kind; they are one level")}
_DEFAULTS: Final[dict[str, Reader[Any]]] = {**NODE, **NETWORK}


def _entries(value: Json, names: str = NAME) -> Reader[Map]:
    return Reader(map_of, named_schema(value, names))


# The keys of a network that apply to its ports; `gateway` and `masquerade` mean the network itself.
_PORT_DEFAULTS: Final = SHARED.keys() - {"gateway", "masquerade"}
_RANGE: Final = rf"{NAME}(\.\.\d+)?"
TOP: Final[dict[str, Reader[Any]]] = {
    "name": scalar(grammar.fabric_name, pattern(NAME)),
    "pools": listed(Reader(_pool, {"anyOf": [_PREFIX.schema, record_schema(_POOL, meanings.POOL)]})),
    "avoid": listed(scalar(addresses.prefix, pattern(r"[0-9a-fA-F:.]+/\d+"))),
    "defaults": Reader(map_of, record_schema(_DEFAULTS, {**meanings.NODE, **meanings.NETWORK})),
    "kinds": _entries(record_schema(_KIND, meanings.NODE)),
    "store": scalar(grammar.store, pattern("sqlite|etcds?://.+")),
    "networks": _entries(record_schema(NETWORK, meanings.NETWORK), _RANGE),
    "nodes": _entries(record_schema(NODE, meanings.NODE), _RANGE),
    "links": Reader(list_of, {"type": ["array", "null"], "items": LINK_SCHEMA}),
    "hosts": _entries(record_schema(_HOST, meanings.HOST)),
    "checks": CHECKS,
    "include": INCLUDE,
}


def load(
    text: bytes,
    file: str,
    directory: str,
    environ: Mapping[str, str],
    name: str | None = None,
    read: Read = no_file,
    settings: Sequence[str] = (),
) -> Topology:
    """The Topology of a file's text; raises TopologyError, or Several of them, with all errors.

    file: its name in errors, `-` for standard input. directory: its absolute directory, from which relative
    paths are taken. environ: the variables for `${VAR}`. name: the fabric's name, if not the file's own.
    read: opens included files. settings: of `--set`, PATH=VALUE.
    """
    run = Run()
    files = Inclusion(run, environ, read)
    more: list[TopologyError] = []
    topology: Topology | None = None
    try:
        tree = files.whole(text, file, directory)
        if settings and not files.errors:
            from netfab.topology.settings import with_settings

            tree = with_settings(tree, settings, directory, environ, run)
        topology = _Loading(run, tree, name, default_name(file, directory)).topology()
    except EnoughErrors:
        more = [TopologyError(f"and more; {MAX_ERRORS} errors are enough to begin with")]
    # A text whose ${VAR} has no value gets no second error.
    unread = {_place(error) for error in files.errors}
    wrong = [error for error in run.errors if _place(error) not in unread]
    raise_all([*_in_order([*files.errors, *wrong], run), *more])
    assert topology is not None  # otherwise there was an error
    return topology._replace(reserved=_distinct(run.reserved))


class _Loading:
    """The steps of loading one file, in the order of their dependencies."""

    def __init__(self, run: Run, tree: Map, name: str | None, default: str) -> None:
        """name: `--name`. default: the fabric's name if neither that nor the file gives one."""
        self._run = run
        self._name = name
        self._default = default
        self._top = read_record(TOP, tree, "", run)
        self._defaults: Map = self._top.values.get("defaults", _NOTHING)
        self._kinds: Map = self._top.values.get("kinds", _NOTHING)
        self._ports = Ports()
        self._networks: dict[str, Network] = {}
        self._links: list[Link] = []
        self._hosts: dict[str, HostEntry] = {}
        self._unread = Unread()

    def topology(self) -> Topology:
        """Read everything; errors are collected in the run."""
        run, values = self._run, self._top.values
        self._check_shared()
        self._each("networks", self._network)
        nodes = Nodes(run, self._defaults, self._kinds, self._ports)
        self._each("nodes", nodes.read)
        nodes.resolve()
        self._read_links()
        self._each("hosts", self._host)
        topology = Topology(
            name=self._fabric_name(),
            at=self._top.at,
            pools=values.get("pools") or default_pools(self._top.at.own),
            avoid=values.get("avoid", ()),
            networks=self._networks,
            nodes=with_gateways(self._networks, nodes.nodes, self._ports),
            links=tuple(self._links),
            hosts=self._hosts,
            checks=expanded(values.get("checks", ()), nodes.bases),
            store=values.get("store"),
            reserved=(),
        )
        if topology.store is not None and not self._name and "name" not in self._top.at.keys:
            run.error_at(self._top.at.of("store"), "fabrics in a shared store say their names: write `name:`")
        for error in chain(
            broken_references(topology, nodes.bases, self._unread),
            unknown_placeholders(topology, nodes.bases, self._unread),
            unknown_ends(topology, self._unread),
            contradictions(topology, self._unread),
        ):
            run.note(error)
        return topology

    def _each(self, section: str, read: Callable[[str, Scalar, Tree, str], None]) -> None:
        """Read each entry of a section; an error in one does not keep the next from being read."""
        entries: Map = self._top.values.get(section, _NOTHING)
        for key, tree in entries.values.items():
            if key.startswith("x-"):
                continue
            path, wrong = f"{section}.{shown(key)}", len(self._run.errors)
            self._run.attempt(read, key, entries.keys[key], tree, path)
            self._unread.add(section, key, path, self._run.errors[wrong:])

    def _check_shared(self) -> None:
        """Check `defaults` and `kinds` even if nothing uses them."""
        read_record(_DEFAULTS, filled_tree(self._defaults, "node1"), "defaults", self._run)
        for key, tree in self._kinds.values.items():
            if not key.startswith("x-"):
                path = f"kinds.{shown(key)}"
                self._run.attempt(self._check_kind, self._kinds.keys[key], tree, path)

    def _check_kind(self, place: Scalar, tree: Tree, path: str) -> None:
        parsed(grammar.name, place, path, self._run)
        read_record(_KIND, filled_tree(map_of(tree, path, self._run), "node1"), path, self._run)

    def _network(self, key: str, place: Scalar, tree: Tree, path: str) -> None:
        """One entry under `networks`: a network, or a range of them."""
        run, wrong = self._run, len(self._run.errors)
        own = map_of(tree, path, run)
        entry = merged(part(self._defaults, NETWORK), own)
        run.spend(
            parsed(grammar.range_length, place, path, run) * (ENTRY_WEIGHT + weight(entry)), place, path
        )
        for name in parsed(grammar.expanded, place, path, run):
            checked(grammar.name, name, place, path, run)
            record = read_record(NETWORK, entry if name == key else filled_tree(entry, name), path, run)
            at = Places(run.at(place, path), record.at.keys)
            unread = frozenset(keys_of(path, run.errors[wrong:]))
            network = network_of(name, Record(record.values, at), own.values, unread, run)
            if (first := self._networks.setdefault(name, network)) is not network:
                run.error_at(at.own, f"the network {name} is there already, at {first.at.own}")
            self._ports.add(
                name, {key: value for key, value in record.values.items() if key in _PORT_DEFAULTS}
            )

    def _read_links(self) -> None:
        entries: list[Tree] = self._top.values["links"].items if "links" in self._top.values else []
        defaults = part(self._defaults, LINK_DEFAULTS)
        wrong = len(self._run.errors)
        for index, tree in enumerate(entries):
            self._run.attempt(self._link, tree, f"links[{index}]", defaults)
        self._unread.links = len(self._run.errors) > wrong

    def _link(self, tree: Tree, path: str, defaults: Map) -> None:
        self._links.extend(links_of(tree, path, defaults, self._run))

    def _host(self, key: str, place: Scalar, tree: Tree, path: str) -> None:
        parsed(grammar.name, place, path, self._run)
        record = read_record(_HOST, map_of(tree, path, self._run), path, self._run)
        self._hosts[key] = HostEntry(
            key,
            record.values.get("address"),
            record.values.get("ssh", ""),
            record.at,
            record.values.get("reflector", False),
        )

    def _fabric_name(self) -> str:
        """`--name`, else the file's `name`, else its stem, for `topology.yaml` its directory's."""
        if self._name is not None:
            try:
                return grammar.fabric_name(self._name)
            except Wrong as wrong:
                self._run.note(TopologyError(str(wrong)))
        if "name" in self._top.at.keys:
            return str(self._top.values.get("name", ""))
        name = self._default
        if not name or name in grammar.NO_FABRIC_NAMES:
            self._run.error_at(self._top.at.own, "nothing here gives the fabric a name; write `name:` first")
        return name


def default_name(file: str, directory: str) -> str:
    """A fabric's name by its file: the stem, for `topology.yaml` the directory's name; or ""."""
    if file == "-":
        return ""
    stem = posixpath.basename(file)
    for suffix in (".yaml", ".yml", ".netfab"):
        stem = stem.removesuffix(suffix)
    return grammar.proposed_name(posixpath.basename(directory.rstrip("/")) if stem == "topology" else stem)


def with_gateways(
    networks: Mapping[str, Network], nodes: Mapping[str, Node], ports: Ports
) -> dict[str, Node]:
    """A network's gateway joins it implicitly: after its written networks, in file order."""
    found = dict(nodes)
    for network in networks.values():
        node = found.get(network.gateway.node) if isinstance(network.gateway, NodeGateway) else None
        if node and all(attachment.network != network.name for attachment in node.attachments):
            joined = Attachment(network.name, ports.of(network.name, {}), Places(network.at.of("gateway")))
            found[node.name] = node._replace(attachments=(*node.attachments, joined))
    return found


def _in_order(errors: Iterable[TopologyError], run: Run) -> list[TopologyError]:
    """The errors in the files' order; those repeated by an alias, a range or a kind once."""
    found: dict[tuple[Place, str], TopologyError] = {}
    for error in errors:
        found.setdefault((_place(error), error.message), error)
    return sorted(found.values(), key=lambda error: run.files.in_order(error.at))


def _place(error: TopologyError) -> Place:
    return error.at and error.at._replace(path="")


def _distinct(reserved: Iterable[Reserved]) -> tuple[Reserved, ...]:
    """The same for keys without effect."""
    found = {(each.at.file, each.at.line, each.at.column, each.key): each for each in reserved}
    return tuple(found[key] for key in sorted(found))
