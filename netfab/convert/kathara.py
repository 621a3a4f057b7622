"""A Kathara lab (lab.conf and NAME.startup, github.com/KatharaFramework): collision domains are networks."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_interface
from typing import Final

from netfab.convert.commands import meaning
from netfab.convert.draft import Converted, Draft, Notes, Said, settled
from netfab.errors import NetfabError
from netfab.topology.tree import Scalar
from netfab.tuples import NamedTuple

_ENTRY: Final = r"\s*([A-Za-z0-9_.-]+)\[\s*(\w+)\s*\]\s*=\s*(.*?)\s*"
_LAB: Final = r"\s*(LAB_\w+)\s*=\s*(.*?)\s*"
_SAME: Final = {"image": "image", "mem": "memory", "cpus": "cpus"}
_LISTS: Final = {"port": "publish", "volume": "mounts"}
_MAPS: Final = {"env": "env", "sysctl": "sysctls"}
_OUTSIDE: Final = "outside"
_NOT_BRIDGED: Final = "not carried over: a port is published to where its device is `bridged`"


class Lab(NamedTuple):
    """A lab's directory, as far as it is read."""

    conf: bytes
    file: str  # path of lab.conf, as shown
    startups: Mapping[str, bytes] = {}  # by name: `pc1.startup`, `shared.startup`
    trees: Mapping[str, Sequence[str]] = {}  # by device: the files in its directory, as relative paths


class Setting(NamedTuple):
    """`pc1[0]="A"`."""

    device: str
    key: str
    value: Said


def kathara(lab: Lab, name: str) -> Converted:
    """The topology of a lab. name: the fabric's if the lab has none.

    Raises NetfabError if nothing of it can be carried over.
    """
    notes = Notes(lab.file)
    text = lab.conf.decode(errors="replace")
    draft: Draft = {"name": notes.fabric(None, "", name), "networks": {}, "nodes": {}}
    settings = list(_settings(text, notes, draft))
    for setting in settings:
        place = Scalar(setting.value, False, setting.value.at.line, 1)
        node = notes.name("node", setting.device, place, setting.device)
        draft["nodes"].setdefault(node, {})
    if not draft["nodes"]:
        raise NetfabError(f'{lab.file} is not such a file: `pc1[0]="A"` is expected')
    for setting in settings:
        _set(setting, draft, notes)
    for device in dict.fromkeys(setting.device for setting in settings):
        node = draft["nodes"][notes.known("node", device)]
        _finish(device, node, lab)
        if notes.known("network", _OUTSIDE) not in node.get("networks", {}):
            for said in node.pop("publish", ()):
                notes.leave(Scalar(said, False, said.at.line, 1), said.at.path, _NOT_BRIDGED)
    for network, known in draft["networks"].items():
        if network != notes.known("network", _OUTSIDE):
            known.update(_subnets(network, draft))
    return settled(draft, notes)


def _settings(text: str, notes: Notes, draft: Draft) -> Iterator[Setting]:
    for number, line in enumerate(text.splitlines(), 1):
        place = Scalar(line, False, number, 1)
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if match := re.fullmatch(_LAB, line):
            if match[1] == "LAB_NAME":
                draft["name"] = notes.fabric(Scalar(_unquoted(match[2]), False, number, 1), match[1], "lab")
            else:
                notes.leave(place, match[1])
        elif match := re.fullmatch(_ENTRY, line):
            path = f"{match[1]}[{match[2]}]"
            yield Setting(match[1], match[2], notes.said(_unquoted(match[3]), place, path))
        else:
            notes.leave(place, "", 'not carried over: it is not of the form `pc1[0]="A"`')


def _unquoted(text: str) -> str:
    try:
        return " ".join(shlex.split(text, comments=True))
    except ValueError:
        return text


def _set(setting: Setting, draft: Draft, notes: Notes) -> None:
    device, key, said = setting
    node: Draft = draft["nodes"][notes.known("node", device)]
    place = Scalar(said, False, said.at.line, 1)
    if key.isdigit():
        domain, _, mac = said.partition("/")
        network = notes.name("network", domain, place, said.at.path)
        draft["networks"].setdefault(network, {})
        if network in node.get("networks", {}):
            notes.leave(place, said.at.path, f"not carried over: the device is on {domain} already")
            return
        port = {"name": said.reworded(f"eth{key}"), **({"mac": said.reworded(mac)} if mac else {})}
        node.setdefault("networks", {})[network] = port
    elif key == "bridged" and said.lower() == "true":
        network = notes.name("network", _OUTSIDE, place, said.at.path)
        draft["networks"].setdefault(network, {})
        node.setdefault("networks", {})[network] = {}
    elif key in _SAME:
        node[_SAME[key]] = said
    elif key in _LISTS:
        node.setdefault(_LISTS[key], []).append(said.reworded(said.replace("|", ":")))
    elif key in _MAPS and "=" in said:
        variable, _, value = said.partition("=")
        node.setdefault(_MAPS[key], {})[variable.strip()] = said.reworded(value.strip())
    elif key == "exec":
        node.setdefault("exec", []).append([said.reworded(word) for word in ("sh", "-c", said)])
    else:
        notes.leave(place, said.at.path)


def _finish(device: str, node: Draft, lab: Lab) -> None:
    """Apply its startup files; Kathara's devices forward, and their programs wait for commands."""
    ports = {str(port["name"]): port for port in node.get("networks", {}).values() if "name" in port}
    for file in ("shared.startup", f"{device}.startup"):
        _start(Notes(file), lab.startups.get(file, b"").decode(errors="replace"), node, ports)
    for port in ports.values():
        port.setdefault("ip", "none")
    if len(node.get("networks", {})) > 1:
        node["forward"] = "true"
    if "routes" not in node:
        node["routes"] = "none"
    if "image" in node:
        node["command"] = ["sleep", "infinity"]
    for path in lab.trees.get(device, ()):
        node.setdefault("files", {})[f"/{path}"] = {"source": f"./{device}/{path}"}


def _start(notes: Notes, text: str, node: Draft, ports: Mapping[str, Draft]) -> None:
    """A startup file: addresses and routes become keys; the rest is run in one piece, by a shell."""
    rest: list[str] = []
    first: Said | None = None
    for number, line in enumerate(text.splitlines(), 1):
        said = notes.said(line, Scalar(line, False, number, 1), "")
        meant = meaning(line)
        if meant is None or (meant.address and meant.interface not in ports):
            rest.append(line)
            first = first or said
        elif meant.address:
            ports[meant.interface].setdefault("ip", []).append(said.reworded(meant.address))
        elif meant.route:
            node.setdefault("routes", []).append(said.reworded(meant.route))
    if first is not None:
        script = first.reworded("\n".join(rest))
        node.setdefault("exec", []).append([first.reworded("sh"), first.reworded("-c"), script])


def _subnets(network: str, draft: Draft) -> Draft:
    """A network's subnets by the addresses on it: of each family the most frequent one."""
    found: dict[int, list[str]] = {}
    for node in draft["nodes"].values():
        ip = node.get("networks", {}).get(network, {}).get("ip", "none")
        for address in ip if isinstance(ip, list) else ():
            prefix = ip_interface(address).network
            found.setdefault(prefix.version, []).append(str(prefix))
    subnets = [max(found[version], key=found[version].count) for version in sorted(found)]
    return {"gateway": "none", "subnet": subnets or "none"}
