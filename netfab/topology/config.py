"""A Topology as the file that says it in full: ranges and kinds expanded, every default written out.

It loads again to the same Topology, places apart. The nodes of a `scale` stay one entry, for its name means
all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from netfab.topology import grammar
from netfab.topology.checks import check_text
from netfab.topology.port import IMPAIRMENTS
from netfab.topology.schema import (
    PLANNED,
    Attachment,
    ContainerMode,
    ExternalGateway,
    FileSpec,
    Gateway,
    HostMode,
    Link,
    Network,
    Node,
    NodeGateway,
    NoGateway,
    NoneMode,
    Port,
    Prefix,
    Publish,
    Ready,
    RouteSpec,
    SubnetSpec,
    Topology,
    VxlanSpec,
)
from netfab.topology.yaml_text import yaml_text

Plain = dict[str, Any]  # YAML's content: texts, lists and maps by key


def config(topology: Topology) -> str:
    """The topology as YAML, as `netfab config` prints it."""
    said: Plain = {
        "name": topology.name,
        "pools": [{"prefix": str(pool.prefix), "size": str(pool.size)} for pool in topology.pools],
        "avoid": [str(prefix) for prefix in topology.avoid],
        "store": str(topology.store or "sqlite"),
        "hosts": {
            host.name: _less_empty(
                {
                    "address": str(host.address or ""),
                    "ssh": host.ssh,
                    "reflector": "true" if host.reflector else "",
                }
            )
            for host in topology.hosts.values()
        },
        "networks": {network.name: _network(network) for network in topology.networks.values()},
        "nodes": _nodes(topology.nodes.values()),
        "links": [_link(link) for link in topology.links],
        "checks": [check_text(each) for each in topology.checks],
    }
    return yaml_text(_less_empty(said))


def _less_empty(said: Plain) -> Plain:
    return {key: value for key, value in said.items() if value not in ("", [], {})}


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _network(network: Network) -> Plain:
    said = {
        "bridge": "" if network.bridge is PLANNED else network.bridge,
        **_subnets(network.subnets),
        "gateway": _gateway(network.gateway),
        "range": [str(part) for part in network.range],
        "internal": _flag(network.internal),
        "isolated": _flag(network.isolated),
        "masquerade": _flag(network.masquerade),
        "mtu": _mtu(network.mtu),
        "external": network.external if isinstance(network.external, str) else _flag(network.external),
        "uplink": {host: nic for host, nic in network.uplink if host}
        or "".join(nic for _, nic in network.uplink),
        "hosts": list(network.hosts),
        "vxlan": _vxlan(network.vxlan),
        "encrypt": _flag(network.encrypt),
    }
    return _less_empty(said)


def _vxlan(spec: VxlanSpec | None) -> object:
    if spec is None:
        return "none"
    vni = {} if spec.vni is PLANNED else {"vni": str(spec.vni)}
    return {**vni, "port": str(spec.port), "control": spec.control}


def _mtu(mtu: object) -> str:
    return "auto" if mtu is PLANNED else str(mtu)


def _subnets(subnets: Sequence[Prefix | SubnetSpec]) -> Plain:
    """`subnet` holds the written ones, `ipv6` says which families there are."""
    if not subnets:
        return {"subnet": "none"}
    families = {each.version for each in subnets}
    written = [
        f"/{each.size}" if isinstance(each, SubnetSpec) else str(each)
        for each in subnets
        if not isinstance(each, SubnetSpec) or each.size is not None
    ]
    return {
        "subnet": written,
        "ipv6": {4: "false", 6: "only"}[families.pop()] if len(families) == 1 else "true",
    }


def _gateway(gateway: Gateway) -> object:
    if isinstance(gateway, NodeGateway):
        return gateway.node
    if isinstance(gateway, NoGateway):
        return "none"
    addresses = [str(address) for address in gateway.addresses]
    return {"external": addresses} if isinstance(gateway, ExternalGateway) else addresses or "host"


def _port(port: Port) -> Plain:
    addresses = [str(each.ip if port.plain else each) for each in port.addresses]
    said = {
        "ip": "none" if port.no_address else "dhcp" if port.dhcp else addresses,
        "mac": "" if port.mac is PLANNED else port.mac,
        "name": "" if port.name is PLANNED else port.name,
        "gateway": "true" if port.gateway else "",
        "mtu": _mtu(port.mtu),
        "spoof": port.spoof,
        "allow": list(port.allow),
        "masquerade": "true" if port.masquerade else "",
        **{key: _impairment(key, getattr(port.impairment, key)) for key in IMPAIRMENTS},
    }
    return _less_empty(said)


def _impairment(key: str, value: int) -> str:
    if not value:
        return ""
    if key in ("delay", "jitter"):
        return grammar.duration_text(value)
    return grammar.rate_text(value) if key == "rate" else grammar.share_text(value)


def _link(link: Link) -> Plain:
    ends = [{"node": end.node, **_port(end.port)} for end in link.ends]
    return {"endpoints": ends, **_less_empty(_subnets(link.subnets)), "cost": str(link.cost)}


def _nodes(nodes: Any) -> Plain:
    said: Plain = {}
    for base, group in groupby(nodes, key=lambda node: node.base):
        members: list[Node] = list(group)
        if members[0].name == base:
            said[base] = _node(members[0])
        else:
            said[base] = _scaled(members)
    return said


def _scaled(members: list[Node]) -> Plain:
    """One entry for the nodes of a `scale`, whose texts may differ only by their number."""
    first = _node(members[0])
    if len(members) > 1:
        second = _node(members[1])
        dealt = _dealt(members)
        if dealt:
            first["publish"] = second["publish"] = dealt
        first = _common(first, second)
    return {"scale": str(len(members)), **first}


def _common(first: Any, second: Any) -> Any:
    """The text of a scale's first two nodes before `{n}` was filled in: 1 in one and 2 in the other."""
    if isinstance(first, dict):
        pairs = zip(first.items(), second.items(), strict=True)
        return {_common(key, other): _common(value, its) for (key, value), (other, its) in pairs}
    if isinstance(first, list):
        return [_common(one, other) for one, other in zip(first, second, strict=True)]
    return "".join(one if one == other else "{n}" for one, other in zip(first, second, strict=True))


def _dealt(members: list[Node]) -> list[str]:
    """The port ranges that were dealt out to a scale; none if each node's port comes from `{n}`."""
    found, rest = [], [list(member.publish) for member in members]
    while rest[0]:
        share = rest[1][0].host_port - rest[0][0].host_port
        if share < 1:
            return []
        taken = [each[:share] for each in rest]
        first, last = taken[0][0], taken[0][-1]
        expected = [first.host_port + index for index in range(share * len(members))]
        if [publish.host_port for each in taken for publish in each] != expected:
            return []
        hosts, nodes = f"{expected[0]}-{expected[-1]}", f"{first.node_port}-{last.node_port}"
        found.append(_published(first, hosts, nodes))
        rest = [each[share:] for each in rest]
    return found


def _published(publish: Publish, host_ports: str, node_ports: str) -> str:
    return f"{publish.before}{host_ports}:{node_ports}/{publish.protocol}"


def _node(node: Node) -> Plain:
    said: Plain = {
        "image": node.image,
        "command": "none" if node.command == () else list(node.command or ()),
        "mode": _mode(node),
        "networks": _networks(node.attachments),
        "publish": [_published(each, str(each.host_port), str(each.node_port)) for each in node.publish],
        "loopback": "true" if node.loopback is PLANNED else [str(address) for address in node.loopback],
        "env": dict(node.env),
        "mounts": [f"{each.source}:{each.target}:{'ro' if each.read_only else 'rw'}" for each in node.mounts],
        "devices": list(node.devices),
        "hostname": node.hostname,
        "user": node.user,
        "workdir": node.workdir,
        "read_only": "true" if node.read_only else "",
        "init": "true" if node.init else "",
        "sysctls": dict(node.sysctls),
        "cap_add": list(node.cap_add),
        "cap_drop": list(node.cap_drop),
        "memory": "" if node.memory is None else grammar.size_text(node.memory),
        "cpus": "" if node.cpus is None else grammar.decimal_text(node.cpus, 9),
        "pids": "" if node.pids is None else str(node.pids),
        "restart": node.restart,
        "dns": list(node.dns),
        "files": {file.path: _file(file) for file in node.files},
        "exec": [list(command) for command in node.exec],
        "ready": [_ready(ready) for ready in node.ready],
        "depends_on": list(node.depends_on),
        "runs_on": list(node.runs_on),
        "attach": node.attach,
    }
    if node.entrypoint is not None:
        said["entrypoint"] = list(node.entrypoint) or "none"
    if said["mode"] == "bridge":
        said["routes"] = [_route(route) for route in node.routes] or ("auto" if node.auto_routes else "none")
        said["forward"] = _flag(node.forward)
    if node.attach:
        return _less_empty({key: said[key] for key in ("attach", "networks", "depends_on")})
    return _less_empty(said)


def _mode(node: Node) -> str:
    if type(node.mode) is ContainerMode:
        return f"container:{node.mode.node}"
    return "host" if type(node.mode) is HostMode else "none" if type(node.mode) is NoneMode else "bridge"


def _networks(attachments: Sequence[Attachment]) -> object:
    """A map, or a list if a network is joined twice."""
    joined = [{each.network: _port(each.port)} for each in attachments]
    if len({each.network for each in attachments}) < len(joined):
        return joined
    return {network: port for each in joined for network, port in each.items()}


def _route(route: RouteSpec) -> str:
    words: list[str] = [] if route.kind == "unicast" else [route.kind]
    words.append("default" if route.destination is None else str(route.destination))
    for word, value in (("via", route.via), ("dev", route.dev), ("metric", route.metric)):
        words += [] if value is None else [word, str(value)]
    return " ".join(words)


def _file(file: FileSpec) -> Plain:
    said = {"content": file.content} if file.content is not None else {"source": file.source}
    return {**said, "mode": f"{file.mode:04o}", "owner": file.owner}


def _ready(ready: Ready) -> Plain:
    said: Mapping[str, object] = {
        "tcp": str(ready.port),
        "http": f":{ready.port}{ready.path}",
        "exec": list(ready.argv),
        "log": ready.regex,
    }
    return {ready.kind: said[ready.kind], "within": grammar.duration_text(round(ready.within * 1e6))}
