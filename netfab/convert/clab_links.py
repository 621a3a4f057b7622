"""The links of a containerlab file: between nodes, to a bridge that there is, or to the host."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_interface
from typing import Final

from netfab.convert.commands import meaning
from netfab.convert.draft import Draft, Notes, Said
from netfab.topology.tree import Map, Scalar, Sequence, Tree

BRIDGES: Final = ("bridge", "ovs-bridge")
End = tuple[str, str]  # node and interface, as in the file


class Links:
    """Translates links into the draft. kinds, commands: of nodes by the file's names."""

    def __init__(
        self, notes: Notes, draft: Draft, kinds: Mapping[str, str], commands: Mapping[str, list[Said]]
    ) -> None:
        self._notes = notes
        self._draft = draft
        self._kinds = kinds
        self._commands = commands

    def read(self, tree: Tree, path: str) -> None:
        """An entry of `links`."""
        link: Draft = {"endpoints": []}
        outside: str = ""
        kind = "veth"
        ends: list[tuple[End, Draft]] = []
        for key, value, inner in self._notes.entries(tree, path):
            said = self._notes.text(value, inner) if type(value) is Scalar else None
            if key == "type" and said is not None:
                kind = said
            elif key == "mtu" and said is not None:
                link["mtu"] = said
            elif key == "host-interface" and said is not None:
                outside = said
            elif key in ("endpoints", "endpoint"):
                several = self._notes.items(value, inner) if type(value) is Sequence else [(value, inner)]
                ends += [end for item, place in several if (end := self._end(item, place))]
            else:
                self._notes.leave(value, inner)
        if outside and kind in ("host", "macvlan"):
            ends.append(((kind, outside), {}))
        if len(ends) != 2 or kind not in ("veth", "host", "macvlan"):
            self._notes.leave(tree, path, "not carried over: a link is between nodes, or a node and the host")
            return
        self._joined(link, ends, tree, path)

    def _end(self, tree: Tree, path: str) -> tuple[End, Draft] | None:
        """`node:eth1`, or a map of both; and its port."""
        if type(tree) is not Map:
            said = self._notes.text(tree, path)
            node, _, interface = (said or "").partition(":")
            return ((node, interface), {}) if interface else None
        port: Draft = {}
        words: dict[str, str] = {}
        for key, value, inner in self._notes.entries(tree, path):
            said = self._notes.text(value, inner)
            if key in ("node", "interface") and said is not None:
                words[key] = said
            elif key in ("ipv4", "ipv6") and said is not None:
                port.setdefault("ip", []).append(said)
            else:
                self._notes.renamed({"mac": "mac"}, key, value, inner, port)
        return ((words["node"], words["interface"]), port) if len(words) == 2 else None

    def _joined(self, link: Draft, ends: list[tuple[End, Draft]], tree: Tree, path: str) -> None:
        """Put a link, or its counterpart here, into the draft."""
        bridges = [node for (node, _), _ in ends if self._kinds.get(node) in BRIDGES]
        for (node, interface), port in ends if bridges else ():
            if node not in bridges and (name := self._notes.known("node", node)):
                network = self._notes.known("network", bridges[0])
                joined = self._draft["nodes"][name].setdefault("networks", {})
                joined[network] = {**port, "name": self._notes.said(interface, tree, path)}
        if bridges:
            return
        self._addresses(ends)
        for (node, interface), port in ends:
            if node in ("host", "macvlan") or self._kinds.get(node) == "host":
                outside = "macvlan" if node == "macvlan" else "host"
                link["endpoints"].append(self._notes.said(f"{outside}:{interface}", tree, path))
            else:
                name = self._notes.known("node", node) or node
                said = self._notes.said(name, tree, path)
                link["endpoints"].append({"node": said, "name": said.reworded(interface), **port})
        if not any("ip" in port for _, port in ends):
            link["subnet"] = "none"
        self._draft["links"].append(link)

    def _addresses(self, ends: list[tuple[End, Draft]]) -> None:
        """The addresses that `exec` gives both ends, if they share one subnet of each family."""
        found: list[tuple[Draft, str, Said, str]] = []
        for (node, interface), port in ends:
            for command in self._commands.get(node, ()):
                meant = meaning(command)
                if meant is not None and meant.address and meant.interface == interface:
                    found.append((port, node, command, meant.address))
        networks = {ip_interface(address).network for _, _, _, address in found}
        if not found or len(networks) != len({network.version for network in networks}):
            return
        for port, node, command, address in found:
            port.setdefault("ip", []).append(command.reworded(address))
            self._commands[node].remove(command)
        for _, port in ends:
            port.setdefault("ip", "none")
