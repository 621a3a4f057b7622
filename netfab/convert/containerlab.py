"""A containerlab topology (containerlab.dev/manual/topo-def-file): its linux, bridge and host kinds."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any, Final

from netfab.convert.clab_links import BRIDGES, Links
from netfab.convert.commands import meaning
from netfab.convert.draft import Converted, Draft, Notes, Said, settled
from netfab.convert.yaml_file import tree_of
from netfab.topology.tree import Map, Scalar, Sequence, Tree

_SAME: Final = {
    "image": "image",
    "user": "user",
    "cpu": "cpus",
    "memory": "memory",
    "restart-policy": "restart",
}
_PROGRAM: Final = ("image", "cmd", "entrypoint")
_LISTS: Final = {"binds": "mounts", "ports": "publish", "cap-add": "cap_add"}
_MAPS: Final = {"env": "env", "sysctls": "sysctls"}
_JOINED: Final = ("exec", "binds", "ports")  # lists to which each level appends
_MANAGEMENT: Final = "mgmt"
_FOREIGN: Final = "not carried over: only linux, bridge and host are; a node without program is here"


def containerlab(text: bytes, file: str, name: str, environ: Mapping[str, str]) -> Converted:
    """The topology of a containerlab file. name: the fabric's if the file has none. Raises NetfabError."""
    notes = Notes(file)
    top = tree_of(text, environ, notes)
    draft: Draft = {
        "name": notes.fabric(top.values.get("name"), "name", name),
        "networks": {},
        "nodes": {},
        "links": [],
    }
    lab = _Lab(notes, draft)
    for key, tree, path in notes.entries(top, ""):
        if key == "topology":
            lab.read(tree, path)
        elif key == "mgmt":
            lab.management(tree, path)
        elif key != "name":
            notes.leave(tree, path)
    return settled(draft, notes)


class _Lab:
    """The `topology` of one file."""

    def __init__(self, notes: Notes, draft: Draft) -> None:
        self._notes = notes
        self._draft = draft
        self._kinds: dict[str, str] = {}  # by the nodes' names in the file
        self._commands: dict[str, list[Said]] = {}  # `exec`, by the nodes' names in the file
        self._unmanaged: set[str] = set()  # nodes with links only

    def read(self, tree: Tree, path: str) -> None:
        """Nodes first, as links refer to them."""
        parts = {key: (value, inner) for key, value, inner in self._notes.entries(tree, path)}
        levels = ("defaults", "kinds", "groups")
        shared: dict[str, Tree] = {key: parts.pop(key)[0] for key in levels if key in parts}
        for key, value, inner in self._notes.entries(*parts.pop("nodes", (None, ""))):
            self._node(key, value, inner, shared)
        links = Links(self._notes, self._draft, self._kinds, self._commands)
        for item, inner in self._notes.items(*parts.pop("links", (None, ""))):
            links.read(item, inner)
        for left, inner in parts.values():
            self._notes.leave(left, inner)
        for written, commands in self._commands.items():
            self._rest(self._draft["nodes"][self._notes.known("node", written)], commands)

    def management(self, tree: Tree, path: str) -> None:
        """The network of every node's eth0."""
        network: Draft = self._draft["networks"].setdefault(self._management(tree, path), {})
        for key, value, inner in self._notes.entries(tree, path):
            if key in ("ipv4-subnet", "ipv6-subnet") and (said := self._notes.text(value, inner)) is not None:
                network.setdefault("subnet", []).append(said)
            else:
                names = {"ipv4-gw": "gateway", "ipv4-range": "range", "mtu": "mtu", "bridge": "bridge"}
                self._notes.renamed(names, key, value, inner, network)

    def _management(self, tree: Tree, path: str) -> str:
        return self._notes.name("network", _MANAGEMENT, tree, path)

    def _node(self, written: str, tree: Tree, path: str, shared: Mapping[str, Tree]) -> None:
        own = tree if type(tree) is Map else Map({}, {}, tree.line, tree.column)
        entry = _inherited(own, shared)
        said = entry.values.get("kind")
        kind = self._kinds[written] = said.text if type(said) is Scalar else "linux"
        if kind == "host":
            return
        name = self._notes.name("network" if kind in BRIDGES else "node", written, tree, path)
        if kind in BRIDGES:
            bridge = self._notes.said(written, tree, path)
            self._draft["networks"][name] = {
                "bridge": bridge, "external": "true", "subnet": "none", "gateway": "none"
            }  # fmt: skip
            return
        node: Draft = {}
        if kind != "linux":
            self._notes.leave(said or tree, f"{path}.kind", _FOREIGN)
        for key, value, inner in self._notes.entries(entry, path):
            if key == "kind":
                continue
            if kind != "linux" and key in _PROGRAM:
                self._notes.leave(value, inner)
            else:
                self._key(key, value, inner, node, written)
        if "mode" not in node and written not in self._unmanaged:
            joined = node.setdefault("networks", {}).setdefault(self._management(tree, path), {})
            joined["name"] = "eth0"
            self._draft["networks"].setdefault(self._management(tree, path), {})
        self._draft["nodes"][name] = node

    def _key(self, key: str, tree: Tree, path: str, node: Draft, written: str) -> None:
        notes = self._notes
        if key in _SAME:
            notes.renamed(_SAME, key, tree, path, node)
        elif key in _LISTS:
            node[_LISTS[key]] = notes.texts(tree, path)
        elif key in _MAPS:
            pairs = ((name, notes.text(each, inner)) for name, each, inner in notes.entries(tree, path))
            node[_MAPS[key]] = {name: said for name, said in pairs if said is not None}
            if node[_MAPS[key]].get("net.ipv4.ip_forward") == "1":
                node["forward"] = "true"
        elif key in ("cmd", "entrypoint") and (said := notes.text(tree, path)) is not None:
            words = _words(said)
            node["command" if key == "cmd" else key] = [notes.said(word, tree, path) for word in words]
        elif key == "exec":
            self._commands[written] = notes.texts(tree, path)
        elif key in ("mgmt-ipv4", "mgmt-ipv6") and (said := notes.text(tree, path)) is not None:
            port = node.setdefault("networks", {}).setdefault(self._management(tree, path), {})
            port.setdefault("ip", []).append(said)
        elif key == "network-mode" and (said := notes.text(tree, path)) is not None:
            if said == "none":
                self._unmanaged.add(written)
                return
            _, colon, other = said.partition(":")
            known = self._notes.known("node", other) or other
            node["mode"] = notes.said(f"container:{known}", tree, path) if colon else said
        else:
            notes.leave(tree, path)

    def _rest(self, node: Draft, commands: list[Said]) -> None:
        """The commands that no link's end took over."""
        for command in commands:
            meant = meaning(command)
            if meant is None or meant.address:
                node.setdefault("exec", []).append([command.reworded(word) for word in _words(command)])
            elif meant.route:
                node.setdefault("routes", []).append(command.reworded(meant.route))
            elif meant.forward:
                node["forward"] = "true"


def _words(text: str) -> list[str]:
    """A command's words; a single one if no shell could parse it."""
    try:
        return shlex.split(text) or [text]
    except ValueError:
        return [text]


def _inherited(own: Map, shared: Mapping[str, Tree]) -> Map:
    """A node's settings on top of its group's, its kind's and the defaults."""
    levels: list[Any] = [shared.get("defaults")]
    for section, key in (("kinds", "kind"), ("groups", "group")):
        name = own.values.get(key)
        entries = shared.get(section)
        if type(name) is Scalar and type(entries) is Map:
            levels.append(entries.values.get(name.text))
    values: dict[str, Tree] = {}
    keys: dict[str, Scalar] = {}
    for level in (*levels, own):
        if type(level) is not Map:
            continue
        for key, tree in level.values.items():
            under = values.get(key)
            if type(under) is Map and type(tree) is Map:
                both = {**under.values, **tree.values}
                tree = Map(both, {**under.keys, **tree.keys}, tree.line, tree.column)
            elif key in _JOINED and type(under) is Sequence and type(tree) is Sequence:
                tree = Sequence([*under.items, *tree.items], tree.line, tree.column)
            values[key], keys[key] = tree, level.keys[key]
    values.pop("group", None)
    return Map(values, keys, own.line, own.column)
