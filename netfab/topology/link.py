"""The entries under `links`: two ends, or `between`, `pairs`, `chain` and `ring` for many links at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from ipaddress import ip_network
from itertools import pairwise, product
from typing import Any, Final, Literal

from netfab.errors import TopologyError
from netfab.topology import grammar, meanings, phrases
from netfab.topology.grammar import INTERFACE, NAME, Wrong
from netfab.topology.merge import merged
from netfab.topology.port import PORT, SHARED, bounded, port_of
from netfab.topology.reading import (
    ENTRY_WEIGHT,
    Json,
    Reader,
    Run,
    checked,
    listed,
    map_of,
    parsed,
    pattern,
    read_record,
    record_schema,
)
from netfab.topology.schema import Endpoint, Interface, Link, Places, Port, Prefix
from netfab.topology.subnets import SUBNETS, Subnets, subnets_of
from netfab.topology.tree import Map, Sequence, Tree
from netfab.topology.unread import keys_of
from netfab.tuples import NamedTuple

PLANNED_SIZES: Final[dict[Literal[4, 6], int | None]] = {4: 31, 6: 127}  # RFC 3021, RFC 6164
_END_PATTERN: Final = f"({NAME}|host|nic|macvlan)(:{INTERFACE})?"


class End(NamedTuple):
    """One end, as written."""

    node: str
    port: dict[str, Any]
    at: Places


def _end(tree: Tree, path: str, run: Run) -> End:
    """`web`, `web:eth5`, `host:eth0`, or `{node: web, name: eth5, ip: 10.0.0.1/31}`."""
    if type(tree) is not Map:
        node, port = _node_and_name(tree, path, run)
        return End(node, port, Places(run.at(tree, path)))
    record = read_record(_END, tree, path, run)
    if "node" not in record.values:
        raise run.error(tree, path, "an end is on a node: `{node: web, name: eth5}`")
    node, port = record.values.pop("node")
    return End(node, {**port, **record.values}, record.at)


def _node_and_name(tree: Tree, path: str, run: Run) -> tuple[str, dict[str, Any]]:
    node, name = parsed(phrases.link_end, tree, path, run)
    kind, _, interface = node.partition(":")
    if kind == "host" and (tag := grammar.tag_of(interface)):
        base, vlan = tag
        message = f"{grammar.quoted(node)} is a new cable's end, and can't be VLAN {vlan} of another"
        raise run.error(tree, path, f"{message}; `macvlan:{interface}` is on VLAN {vlan} of {base}")
    return node, {} if name is None else {"name": name}


_END: Final[dict[str, Reader[Any]]] = {"node": Reader(_node_and_name, pattern(_END_PATTERN)), **PORT}
_ENDPOINT: Final = Reader(_end, {"anyOf": [pattern(_END_PATTERN), record_schema(_END, meanings.END)]})


def _names(tree: Tree, path: str, run: Run) -> tuple[End, ...]:
    """Ends without interface names: `leaf1..4` or `spine`, or a list of such."""
    if type(tree) is Sequence:
        return tuple(
            end for index, item in enumerate(tree.items) for end in _names(item, f"{path}[{index}]", run)
        )
    run.spend(parsed(grammar.range_length, tree, path, run), tree, path)
    at = Places(run.at(tree, path))
    names = parsed(grammar.expanded, tree, path, run)
    return tuple(End(checked(grammar.node_name, name, tree, path, run), {}, at) for name in names)


_NAMES_SCHEMA: Final[Json] = {
    "anyOf": [pattern(rf"{NAME}(\.\.\d+)?"), {"type": "array", "items": pattern(rf"{NAME}(\.\.\d+)?")}]
}
_GROUPS: Final = listed(Reader(_names, _NAMES_SCHEMA))
LINK: Final[dict[str, Reader[Any]]] = {
    "endpoints": listed(_ENDPOINT),
    "between": _GROUPS,
    "pairs": _GROUPS,
    "chain": _GROUPS,
    "ring": _GROUPS,
    **SUBNETS,
    "cost": bounded(1, 65535),
    **SHARED,
}
_SHAPES: Final = ("endpoints", "between", "pairs", "chain", "ring")
LINK_SCHEMA: Final[Json] = {
    "anyOf": [{"type": "array", "items": _ENDPOINT.schema}, record_schema(LINK, meanings.LINK)]
}
# The file's defaults that apply to links too; their `gateway` and `masquerade` are a port's, not a network's.
LINK_DEFAULTS: Final = LINK.keys() - {*_SHAPES, "cost", "subnet", "gateway", "masquerade"}


def links_of(tree: Tree, path: str, defaults: Map, run: Run) -> Iterator[Link]:
    """The links of one entry under `links`."""
    own = (
        Map({"endpoints": tree}, {}, tree.line, tree.column)
        if type(tree) is Sequence
        else map_of(tree, path, run)
    )
    wrong = len(run.errors)
    record = read_record(LINK, merged(defaults, own), path, run)
    shapes = [shape for shape in _SHAPES if shape in own.values]
    if len(shapes) != 1:
        raise run.error(
            tree, path, f"exactly one of {', '.join(f'`{shape}`' for shape in _SHAPES)} is expected"
        )
    (shape,) = shapes
    if not {shape, "subnet", "ipv6"}.isdisjoint(keys_of(path, run.errors[wrong:])):
        return
    pairs = _pairs(shape, record.values[shape], own.values[shape], path, run)
    values = record.values
    if len(pairs) > 1 and any(not isinstance(item, int) for item in values.get("subnet", ())):
        raise run.error(
            own.values["subnet"],
            f"{path}.subnet",
            f"one subnet can't be that of {len(pairs)} links; leave it out",
        )
    if shape != "between":
        run.spend(len(pairs) * ENTRY_WEIGHT, tree, path)
    shared = {key: values[key] for key in SHARED if key in values}
    for first, second in pairs:
        ends = _endpoint(first, shared), _endpoint(second, shared)
        try:
            subnets = _subnets(values, own.values, ends)
        except Wrong as error:
            raise TopologyError(str(error), at=record.at.of("subnet")) from None
        yield Link(ends, subnets, values.get("cost", 1), record.at)


def _endpoint(end: End, shared: dict[str, Any]) -> Endpoint:
    if end.node.startswith(("nic:", "macvlan:")):
        shared = {}  # the host's NIC is taken as it is
    return Endpoint(end.node, port_of({**shared, **end.port}) if shared or end.port else Port(), end.at)


def _pairs(shape: str, written: tuple[Any, ...], tree: Tree, path: str, run: Run) -> list[tuple[End, End]]:
    """The two ends of each link. Raises TopologyError with the number that would be right."""
    path = f"{path}.{shape}"
    if shape == "endpoints":
        if len(written) != 2:
            raise run.error(tree, path, f"a link has two ends, not {len(written)}")
        return [(written[0], written[1])]
    if shape in ("between", "pairs"):
        if len(written) != 2:
            raise run.error(
                tree, path, f"two groups of nodes are expected, not {len(written)}: `[pc1..3, r1..3]`"
            )
        first, second = written
        if shape == "between":
            run.spend(len(first) * len(second) * ENTRY_WEIGHT, tree, path)
            return list(product(first, second))
        if len(first) != len(second):
            raise run.error(tree, path, f"{len(first)} nodes can't be paired with {len(second)}")
        return list(zip(first, second, strict=True))
    nodes = [end for group in written for end in group]
    least = 2 if shape == "chain" else 3
    if len(nodes) < least:
        raise run.error(tree, path, f"a {shape} has at least {least} nodes, not {len(nodes)}")
    return [*pairwise(nodes), *([(nodes[-1], nodes[0])] if shape == "ring" else [])]


def _subnets(values: dict[str, Any], own: Collection[str], ends: tuple[Endpoint, Endpoint]) -> Subnets:
    """The link's subnets: the written ones, else those of its ends' addresses, else planned ones."""
    if "subnet" in values:
        return subnets_of(values, own, PLANNED_SIZES)
    found: list[Prefix] = []
    for end in ends:
        for address in end.port.addresses:
            subnet = _around(address, end.port.plain)
            if subnet not in found:
                found.append(subnet)
    if not found:
        return subnets_of(values, own, PLANNED_SIZES)
    try:
        return subnets_of({**values, "subnet": tuple(found)}, own, PLANNED_SIZES)
    except Wrong:
        raise Wrong(f"the ends are in different subnets: {', '.join(map(str, found))}") from None


def _around(address: Interface, plain: bool) -> Prefix:
    return (
        ip_network(f"{address.ip}/{PLANNED_SIZES[address.version]}", strict=False)
        if plain
        else address.network
    )
