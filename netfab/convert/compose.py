"""compose.yaml (github.com/compose-spec/compose-spec) as a topology: services are nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from netfab.convert.draft import Converted, Draft, Notes, settled
from netfab.convert.service import Services
from netfab.convert.yaml_file import tree_of
from netfab.topology.tree import Scalar, Tree

_BRIDGE_OPTIONS: Final = {
    "com.docker.network.bridge.name": "bridge",
    "com.docker.network.driver.mtu": "mtu",
}


def compose(text: bytes, file: str, name: str, environ: Mapping[str, str]) -> Converted:
    """The topology of a compose file. name: the fabric's if the file has none.

    Raises NetfabError if it is no YAML, or nothing of it can be carried over.
    """
    notes = Notes(file)
    top = tree_of(text, environ, notes)
    services_of = Services(notes)
    fabric = notes.fabric(top.values.get("name"), "name", name)
    draft: Draft = {"name": fabric, "networks": {}, "nodes": {}}
    services = list(notes.entries(top.values.get("services"), "services"))
    for key, tree, path in services:
        notes.name("node", key, tree, path)
    for key, tree, path in notes.entries(top.values.get("networks"), "networks"):
        draft["networks"][notes.name("network", key, tree, path)] = _network(tree, path, notes)
    for key, tree, path in services:
        node = services_of.service(tree, path)
        draft["nodes"][notes.name("node", key, tree, path)] = node
    for network, place in services_of.implied.items():
        draft["networks"].setdefault(notes.name("network", network, place, f"networks.{network}"), {})
    for key, tree, path in notes.entries(top, ""):
        if key not in ("name", "services", "networks", "version"):
            notes.leave(tree, path)
    return settled(draft, notes)


def _network(tree: Tree, path: str, notes: Notes) -> Draft:
    """A network of the file; an external one becomes one of this fabric."""
    found: Draft = {}
    for key, value, inner in notes.entries(tree, path):
        said = notes.text(value, inner) if type(value) is Scalar else None
        if key == "internal" and said is not None:
            found["internal"] = said
        elif key == "enable_ipv6" and said is not None:
            found["ipv6"] = said
        elif key == "driver" and said == "bridge":
            continue
        elif key == "ipam":
            _ipam(value, inner, found, notes)
        elif key == "driver_opts":
            for option, each, place in notes.entries(value, inner):
                notes.renamed(_BRIDGE_OPTIONS, option, each, place, found)
        else:
            notes.leave(value, inner)
    return found


def _ipam(tree: Tree, path: str, network: Draft, notes: Notes) -> None:
    for key, value, inner in notes.entries(tree, path):
        if key != "config":
            notes.leave(value, inner)
            continue
        for item, each in notes.items(value, inner):
            for word, setting, place in notes.entries(item, each):
                ours = {"subnet": "subnet", "gateway": "gateway", "ip_range": "range"}.get(word)
                said = notes.text(setting, place) if ours else None
                if ours is None:
                    notes.leave(setting, place)
                elif said is not None and ours == "gateway" and "gateway" in network:
                    notes.leave(setting, place, "not carried over: a network has one gateway")
                elif said is not None:
                    network[ours] = said if ours == "gateway" else [*network.get(ours, []), said]
