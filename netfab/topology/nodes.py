"""The entries under `nodes`, as Nodes: ranges, `scale`, `kinds` and `defaults` expanded, ports filled in.

Knows how an entry's keys make nodes; how a key is read is node.py's, what nodes say against others
rules.py's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from netfab.errors import Location
from netfab.topology import grammar
from netfab.topology.grammar import quoted, shown
from netfab.topology.merge import filled, filled_tree, has_placeholder, merged, part, without
from netfab.topology.node import NODE, Joined
from netfab.topology.phrases import Forwarding
from netfab.topology.port import port_of
from netfab.topology.reading import ENTRY_WEIGHT, Run, checked, map_of, parsed, read_record
from netfab.topology.schema import (
    Attachment,
    Bridged,
    ContainerMode,
    HostMode,
    Mode,
    Node,
    NoneMode,
    Places,
    Port,
    Publish,
)
from netfab.topology.suggest import nearest
from netfab.topology.tree import Map, Scalar, Tree, weight
from netfab.tuples import NamedTuple

# What a node without a network of its own can't have; docker refuses it ("conflicting options").
NETWORK_KEYS: Final = frozenset({"networks", "publish", "hostname", "dns", "routes", "forward", "loopback"})
_ATTACHED_KEYS: Final = frozenset({"attach", "networks", "depends_on"})
_MADE_HERE: Final = frozenset({"kind", "scale", "networks", "publish", "routes"})


class Ports:
    """What networks say about their ports; networks that say nothing share one Port."""

    def __init__(self) -> None:
        self._values: dict[str, dict[str, Any]] = {}
        self._ports: dict[str, Port] = {}

    def add(self, network: str, values: dict[str, Any]) -> None:
        """Add a network's port keys, for all ports on it."""
        self._values[network] = values
        self._ports[network] = port_of(values)

    def of(self, network: str, own: Mapping[str, Any]) -> Port:
        """The Port of an attachment: its own keys on top of its network's. An unknown network has none."""
        if not own:
            return self._ports.get(network) or Port()
        return port_of({**self._values.get(network, {}), **own})


class Instance(NamedTuple):
    """One of an entry's nodes."""

    name: str
    position: int = 0  # from 0, within the entry
    scale: int = 0  # the entry's; 0 without


class Nodes:
    """Reads the entries one by one; holds what they share."""

    def __init__(self, run: Run, defaults: Map, kinds: Map, ports: Ports) -> None:
        self.nodes: dict[str, Node] = {}
        self.bases: dict[str, tuple[str, ...]] = {}  # the nodes of each entry with a `scale`
        self._run = run
        self._defaults = part(defaults, NODE)
        self._kinds = kinds
        self._ports = ports

    def read(self, key: str, place: Scalar, tree: Tree, path: str) -> None:
        """One entry under `nodes`: a node, a range of them, or as many as its `scale` says."""
        run = self._run
        entry = self._merged(map_of(tree, path, run), place, path)
        instances = self._instances(key, place, entry, path)
        first = instances[0]
        several = first.name != key
        if first.scale:
            self.bases[key] = tuple(each.name for each in instances)
        at = run.at(place, path)
        if several and (has_placeholder(entry) or "publish" in entry.values):
            made = [self._node(key, each, filled_tree(entry, each.name), entry, at) for each in instances]
        else:
            node = self._node(key, first, entry, entry, at)
            made = [node, *(_renamed(node, each.name, bool(each.scale)) for each in instances[1:])]
        for node in made:
            self._add(node)

    def resolve(self) -> None:
        """The name of an entry with a `scale` stands for all its nodes, in `depends_on` and `dns`."""
        if not self.bases:
            return
        for node in self.nodes.values():
            if node.depends_on or node.dns:
                self.nodes[node.name] = node._replace(
                    depends_on=self._all_of(node.depends_on), dns=self._all_of(node.dns)
                )

    def _all_of(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(each for name in names for each in self.bases.get(name, (name,)))

    def _add(self, node: Node) -> None:
        if first := self.nodes.get(node.name):
            self._run.error_at(node.at.own, f"the node {node.name} is there already, at {first.at.own}")
        else:
            self.nodes[node.name] = node

    def _merged(self, own: Map, place: Scalar, path: str) -> Map:
        """The entry's keys, on top of its kind's, on top of the file's defaults."""
        if "attach" in own.values:
            return own
        written = self._with_kind(own, path)
        under = self._defaults
        if not under.values:
            return written
        mode = written.values.get("mode") or under.values.get("mode")
        if type(mode) is Scalar and mode.text != "bridge":
            under = without(under, NETWORK_KEYS)
        self._run.spend(len(under.values), place, path)
        return merged(under, written)

    def _with_kind(self, own: Map, path: str) -> Map:
        name = own.values.get("kind") or self._defaults.values.get("kind")
        if type(name) is not Scalar:
            return own
        kind = self._kinds.values.get(name.text)
        if kind is None:
            hint = nearest(name.text, self._kinds.values)
            meant = f"; did you mean `{shown(hint)}`?" if hint else "; `kinds:` is where they are written"
            self._run.wrong(name, f"{path}.kind", f"there is no kind {quoted(name.text)}{meant}")
            return own
        under = map_of(kind, f"kinds.{shown(name.text)}", self._run)
        self._run.spend(weight(under), name, path)
        return merged(under, own)

    def _instances(self, key: str, place: Scalar, entry: Map, path: str) -> list[Instance]:
        """The entry's nodes: at least one."""
        run = self._run
        scale = entry.values.get("scale")
        if grammar.is_range(key):
            if scale is not None:
                raise run.error(
                    scale, f"{path}.scale", f"{quoted(key)} is a range already; leave `scale` out"
                )
            run.spend(parsed(grammar.range_length, place, path, run) * _cost(entry), place, path)
            found = [Instance(name, i) for i, name in enumerate(parsed(grammar.expanded, place, path, run))]
        elif scale is not None:
            parsed(grammar.node_name, place, path, run)
            count = NODE["scale"].read(scale, f"{path}.scale", run)
            run.spend(count * _cost(entry), place, path)
            found = [Instance(f"{key}-{i + 1}", i, count) for i in range(count)]
        else:
            found = [Instance(key)]
        for each in (found[0], found[-1]):  # the shortest and the longest name
            checked(grammar.node_name, each.name, place, path, run)
        return found

    def _node(self, key: str, instance: Instance, tree: Map, template: Map, at: Location) -> Node:
        """The node of one instance's tree; `template` is the entry before `{n}` was filled in."""
        record = read_record(NODE, tree, at.path, self._run)
        values = record.values
        plain = {key: value for key, value in values.items() if key not in _MADE_HERE}
        auto_routes, routes = values.get("routes", (True, ()))
        node = Node(
            instance.name,
            key if instance.scale else instance.name,
            grammar.trailing_number(instance.name),
            Places(at, record.at.keys),
            attachments=tuple(map(self._attachment, values.get("networks", ()))),
            publish=self._published(values, instance, template),
            auto_routes=auto_routes,
            routes=routes,
            **plain,
        )
        self._check(node, tree, instance)
        return _filled(node)

    def _attachment(self, joined: Joined) -> Attachment:
        return Attachment(joined.network, self._ports.of(joined.network, joined.port), joined.at)

    def _published(self, values: Mapping[str, Any], instance: Instance, template: Map) -> tuple[Publish, ...]:
        written: tuple[tuple[Forwarding, Location], ...] = values.get("publish", ())
        if not written:
            return ()
        found: list[Publish] = []
        own_port_each = has_placeholder(template.values["publish"])
        for forwarding, at in written:
            hosts, nodes = len(forwarding.host_ports), len(forwarding.node_ports)
            self._run.spend(nodes, template.values["publish"], at.path)
            if instance.scale and not own_port_each:
                if hosts < nodes * instance.scale:
                    first = forwarding.host_ports[0]
                    self._run.error_at(
                        at,
                        f"{hosts} of the host's ports for {instance.scale} nodes with {nodes} each; "
                        f"a range is dealt out: `{first}-{first + nodes * instance.scale - 1}:...`",
                    )
                    continue
                forwarding = forwarding.dealt(instance.position)
            elif hosts != nodes:
                self._run.error_at(
                    at, f"{hosts} ports on the host and {nodes} on the node; write as many, or `scale`"
                )
                continue
            found += forwarding.ports(at)
        return tuple(found)

    def _check(self, node: Node, tree: Map, instance: Instance) -> None:
        """Contradictions between a node's own keys."""
        run = self._run
        if node.attach:
            for key in tree.values.keys() - _ATTACHED_KEYS:
                if not key.startswith("x-"):
                    run.error_at(
                        node.at.of(key),
                        "a node that somebody else runs (`attach`) has only `networks` and `depends_on`",
                    )
        if instance.scale:
            self._check_scaled(node)
        if type(node.mode) is not Bridged:
            self._check_mode(node, tree)
        self._check_once((mount.target, mount.at) for mount in node.mounts)
        self._check_once((file.path, file.at) for file in node.files)

    def _check_once(self, targets: Iterable[tuple[str, Location]]) -> None:
        """Of two mounts or files in one place, only the last would take effect."""
        first: dict[str, Location] = {}
        for target, at in targets:
            if (other := first.setdefault(target, at)) != at:
                self._run.error_at(at, f"{shown(target)} stands twice, first at {other}")

    def _check_scaled(self, node: Node) -> None:
        for attachment in node.attachments:
            for key in ("ip", "mac"):
                if key in attachment.at.keys and (attachment.port.addresses or key == "mac"):
                    self._run.error_at(
                        attachment.at.of(key), f"`{key}` is one node's own, and `scale` makes several"
                    )
        if type(node.mode) is ContainerMode:
            self._run.error_at(
                node.at.of("mode"),
                "`mode: container:` gives one node another's network; `scale` makes several",
            )

    def _check_mode(self, node: Node, tree: Map) -> None:
        mode, why = _mode_text(node.mode)
        for key in sorted(tree.values.keys() & NETWORK_KEYS):
            self._run.error_at(node.at.of(key), f"conflicting options: `{key}` and `mode: {mode}`, {why}")
        if type(node.mode) is not NoneMode and any(key.startswith("net.") for key, _ in node.sysctls):
            self._run.error_at(
                node.at.of("sysctls"), f"conflicting options: `net.*` and `mode: {mode}`, {why}"
            )
        if type(node.mode) is HostMode and not node.command and node.image == "host":
            self._run.error_at(
                node.at.of("mode"), "`mode: host` without a `command` is nothing at all; give it one"
            )


def _cost(entry: Map) -> int:
    return ENTRY_WEIGHT + weight(entry)


def _renamed(node: Node, name: str, scaled: bool) -> Node:
    """Another node of the same entry, in which nothing depends on the name."""
    return node._replace(name=name, base=node.base if scaled else name, n=grammar.trailing_number(name))


def _mode_text(mode: Mode) -> tuple[str, str]:
    """The written mode, and the resulting Mode."""
    if type(mode) is ContainerMode:
        return f"container:{mode.node}", f"where the network is {mode.node}'s"
    if type(mode) is HostMode:
        return "host", "where the network is the host's own"
    return "none", "where there is no network"


def texts_of(node: Node) -> Iterator[tuple[str, Location]]:
    """The texts whose placeholders the planner fills in."""
    for text in node.command or ():
        yield text, node.at.of("command")
    for command in node.exec:
        for text in command:
            yield text, node.at.of("exec")
    for _, text in node.env:
        yield text, node.at.of("env")
    for file in node.files:
        yield file.content or "", file.at


def _filled(node: Node) -> Node:
    """Fill in `{n}` and `{node}` in a node's command, exec, env and files."""
    if not (node.command or node.exec or node.env or node.files):
        return node
    if not any("{n" in text for text, _ in texts_of(node)):
        return node

    def fill(text: str) -> str:
        return filled(text, node.name)

    return node._replace(
        command=node.command and tuple(map(fill, node.command)),
        exec=tuple(tuple(map(fill, command)) for command in node.exec),
        env=tuple((key, fill(value)) for key, value in node.env),
        files=tuple(file._replace(content=file.content and fill(file.content)) for file in node.files),
    )
