"""A service of a compose file as a node."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from typing import Any, Final

from netfab.convert.draft import Draft, Notes, Said
from netfab.topology.tree import Map, Scalar, Sequence, Tree

_SAME: Final = {  # equivalent values
    "image": "image",
    "hostname": "hostname",
    "user": "user",
    "working_dir": "workdir",
    "restart": "restart",
    "mem_limit": "memory",
    "cpus": "cpus",
    "pids_limit": "pids",
    "scale": "scale",
    "read_only": "read_only",
    "init": "init",
}
_LISTS: Final = {"cap_add": "cap_add", "cap_drop": "cap_drop", "dns": "dns"}
_NEEDLESS: Final = {
    "expose": "nodes of a network reach every port of each other",
    "links": "nodes of a network reach each other by name",
    "container_name": "a node is called by its name",
    "build": "build the image, and name it in `image`",
    "env_file": "write its variables into `env`",
    "privileged": "write what it needs into `cap_add`",
    "tmpfs": "a node's files are its own and go with it",
    "labels": "nodes have no labels",
    "extra_hosts": "nodes find each other by name; `files` can be its /etc/hosts",
    "devices": "there are no devices but those that every container has",
    "dns_search": "nodes find each other by their names alone",
    "logging": "`netfab logs` shows the output",
    "profiles": "`netfab apply --only NODE` applies a part",
    "secrets": "mount the file: `mounts: [./secret:/run/secrets/secret:ro]`",
    "configs": "mount the file, or write it into `files`",
    "stop_grace_period": "`netfab stop -t SECONDS` sets it",
    "stop_signal": "the image's is used; `netfab kill -s SIGNAL` sends another",
    "ulimits": "its limits are those of the host's process 1",
    "extends": "print the file in full by `docker compose config`, and convert that",
}
_LIMITS: Final = {"memory": "memory", "cpus": "cpus", "pids": "pids"}
_OF_THE_SHELL: Final = "not carried over: its value is the shell's; write `${NAME}`"
_NO_VOLUMES: Final = "not carried over: mounts are of paths of the host: `./data:/data`"
_NO_ALIASES: Final = "not carried over: a node is found by its own name only"
_READY: Final = "not carried over: `ready` is tried until it holds, `within` a time"


class Services:
    """The services of one file, as they are read."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self.implied: dict[str, Tree] = {}  # networks that services name, and where
        self._special: Mapping[str, Callable[[Tree, str, Draft], None]] = {
            "command": self._arguments,
            "entrypoint": self._arguments,
            "environment": self._environment,
            "ports": self._ports,
            "network_mode": self._mode,
            "volumes": self._volumes,
            "depends_on": self._depends_on,
            "healthcheck": self._healthcheck,
            "deploy": self._deploy,
            "sysctls": self._sysctls,
            "networks": self._networks,
        }

    def service(self, tree: Tree, path: str) -> Draft:
        """A node; keys without a counterpart are reported by name."""
        node: Draft = {}
        keys = [key for key, _, _ in self._notes.entries(tree, path)]
        for key, value, inner in self._notes.entries(tree, path):
            if key in self._special:
                self._special[key](value, inner, node)
            elif key in _SAME:
                if (said := self._notes.text(value, inner)) is not None:
                    node[_SAME[key]] = said
            elif key in _LISTS:
                if several := self._notes.texts(value, inner):
                    node[_LISTS[key]] = several
            else:
                needless = _NEEDLESS.get(key, "")
                self._notes.leave(
                    value, inner, f"not carried over: {needless}" if needless else "not carried over"
                )
        if "networks" not in keys and "network_mode" not in keys:
            node["networks"] = {self._network_name("default", tree, path): {}}
        return node

    def _arguments(self, tree: Tree, path: str, node: Draft) -> None:
        """A text is split as by a shell, but not run by one."""
        key = path.rpartition(".")[2]
        if type(tree) is not Scalar:
            node[key] = self._notes.texts(tree, path)
        elif (said := self._notes.text(tree, path)) is not None:
            try:
                words = shlex.split(said)
            except ValueError as error:
                self._notes.leave(tree, path, f"not carried over: {error}")
                return
            node[key] = [self._notes.said(word, tree, path) for word in words]
        if not node.get(key):
            node.pop(key, None)

    def _pairs(self, tree: Tree, path: str) -> Draft:
        """A map, or a list of `KEY=VALUE`."""
        found: Draft = {}
        if type(tree) is Sequence:
            for said in self._notes.texts(tree, path):
                key, equals, value = said.partition("=")
                if equals:
                    found[key] = self._notes.said(value, tree, path)
                    found[key].at = said.at
                else:
                    self._notes.leave(tree, said.at.path, _OF_THE_SHELL)
            return found
        for key, each, inner in self._notes.entries(tree, path):
            if (text := self._notes.text(each, inner)) is not None:
                found[key] = text
            else:
                self._notes.leave(each, inner, _OF_THE_SHELL)
        return found

    def _environment(self, tree: Tree, path: str, node: Draft) -> None:
        node["env"] = self._pairs(tree, path)

    def _sysctls(self, tree: Tree, path: str, node: Draft) -> None:
        node["sysctls"] = self._pairs(tree, path)

    def _ports(self, tree: Tree, path: str, node: Draft) -> None:
        published: list[Said] = []
        for item, inner in self._notes.items(tree, path):
            said = self._long_port(item, inner) if type(item) is Map else self._notes.text(item, inner)
            if said is not None and ":" not in said:
                self._notes.leave(item, inner, f"not carried over: write the host's port: `8080:{said}`")
            elif said is not None:
                published.append(said)
        node["publish"] = published

    def _long_port(self, tree: Map, path: str) -> Said | None:
        words: dict[str, str] = {}
        for key, value, inner in self._notes.entries(tree, path):
            said = self._notes.text(value, inner)
            if key in ("target", "published", "protocol", "host_ip") and said is not None:
                words[key] = said
            elif key not in ("mode", "name", "app_protocol"):
                self._notes.leave(value, inner)
        ends = [words[key] for key in ("published", "target") if key in words]
        host = [
            f"[{address}]" if ":" in address else address for address in [words.get("host_ip", "")] if address
        ]
        protocol = f"/{words['protocol']}" if "protocol" in words else ""
        return self._notes.said(":".join([*host, *ends]) + protocol, tree, path) if ends else None

    def _mode(self, tree: Tree, path: str, node: Draft) -> None:
        said = self._notes.text(tree, path)
        kind, _, other = (said or "").partition(":")
        if kind == "service" and (name := self._notes.known("node", other)):
            node["mode"] = self._notes.said(f"container:{name}", tree, path)
        elif kind in ("host", "none"):
            node["mode"] = said
        else:
            self._notes.leave(tree, path)

    def _volumes(self, tree: Tree, path: str, node: Draft) -> None:
        mounts: list[Said] = []
        for item, inner in self._notes.items(tree, path):
            if type(item) is Map:
                said = self._long_mount(item, inner)
            elif (found := self._notes.text(item, inner)) is not None:
                said = found
            else:
                continue
            if said.startswith((".", "/")) and ":" in said:
                mounts.append(said)
            else:
                self._notes.leave(item, inner, _NO_VOLUMES)
        node["mounts"] = mounts

    def _long_mount(self, tree: Map, path: str) -> Said:
        words: dict[str, str] = {}
        for key, value, inner in self._notes.entries(tree, path):
            said = self._notes.text(value, inner) if type(value) is Scalar else None
            if key in ("type", "source", "target", "read_only") and said is not None:
                words[key] = said
            else:
                self._notes.leave(value, inner)
        read_only = ":ro" if words.get("read_only") == "true" else ""
        return self._notes.said(f"{words.get('source', '')}:{words.get('target', '')}{read_only}", tree, path)

    def _depends_on(self, tree: Tree, path: str, node: Draft) -> None:
        names = self._notes.texts(tree, path) if type(tree) is not Map else []
        for key, value, inner in self._notes.entries(tree, path) if type(tree) is Map else ():
            names.append(self._notes.said(key, value, inner))
            for word, each, place in self._notes.entries(value, inner):
                said = self._notes.text(each, place) if type(each) is Scalar else None
                if word != "condition" or said == "service_completed_successfully":
                    self._notes.leave(each, place)
        for said in names:
            ours = self._notes.said(self._notes.known("node", said) or said, tree, path)
            ours.at = said.at
            node.setdefault("depends_on", []).append(ours)

    def _healthcheck(self, tree: Tree, path: str, node: Draft) -> None:
        for key, value, inner in self._notes.entries(tree, path):
            if key != "test":
                self._notes.leave(value, inner, _READY)
                continue
            words = self._notes.texts(value, inner)
            if type(value) is Scalar or words[:1] == ["CMD-SHELL"]:
                shell = words if type(value) is Scalar else words[1:]
                command = [self._notes.said(word, value, inner) for word in ("sh", "-c")] + shell
            elif words[:1] == ["CMD"]:
                command = words[1:]
            else:
                self._notes.leave(value, inner)
                continue
            node["ready"] = {"exec": command}

    def _deploy(self, tree: Tree, path: str, node: Draft) -> None:
        for key, value, inner in self._notes.entries(tree, path):
            if key == "replicas" and (said := self._notes.text(value, inner)) is not None:
                node["scale"] = said
            elif key == "resources":
                for kind, limits, place in self._notes.entries(value, inner):
                    if kind == "limits":
                        for word, each, at in self._notes.entries(limits, place):
                            self._notes.renamed(_LIMITS, word, each, at, node)
                    else:
                        self._notes.leave(limits, place)
            else:
                self._notes.leave(value, inner)

    def _networks(self, tree: Tree, path: str, node: Draft) -> None:
        joined: Draft = {}
        if type(tree) is Map:
            for key, value, inner in self._notes.entries(tree, path):
                joined[self._network_name(key, value, inner)] = self._port(value, inner)
        else:
            for said in self._notes.texts(tree, path):
                joined[self._network_name(said, tree, said.at.path)] = {}
        node["networks"] = joined

    def _network_name(self, written: str, tree: Tree, path: str) -> str:
        self.implied.setdefault(written, tree)
        return self._notes.name("network", written, tree, path)

    def _port(self, tree: Tree, path: str) -> Draft:
        port: Draft = {}
        addresses: list[Any] = []
        for key, value, inner in self._notes.entries(tree, path):
            said = self._notes.text(value, inner) if type(value) is Scalar else None
            if key in ("ipv4_address", "ipv6_address") and said is not None:
                addresses.append(said)
            elif key == "mac_address" and said is not None:
                port["mac"] = said
            elif key == "interface_name" and said is not None:
                port["name"] = said
            elif key == "aliases":
                self._notes.leave(value, inner, _NO_ALIASES)
            else:
                self._notes.leave(value, inner)
        return {**port, "ip": addresses} if addresses else port
