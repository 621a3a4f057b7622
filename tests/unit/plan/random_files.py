"""Topology files by chance, as the data that YAML would give; every one of them can be planned."""

from __future__ import annotations

import json
from itertools import combinations
from random import Random
from typing import Any

from netfab.topology.load import load
from netfab.topology.schema import Topology

File = dict[str, Any]


def read_file(file: File) -> Topology:
    return load(json.dumps(file).encode(), "lab.yaml", "/lab", {}, None)


def random_file(chance: Random, routers: int = 6) -> File:
    """Up to that many routers with links and shared networks between them, and hosts behind them."""
    names = [f"r{n}" for n in range(chance.randint(1, routers))]
    networks = {f"n{n}": random_network(chance, names) for n in range(chance.randint(1, len(names) + 2))}
    nodes: File = {name: {"forward": True, **some_networks(chance, networks)} for name in names}
    for number in range(chance.randint(1, len(names) + 3)):
        nodes[f"h{number}"] = some_networks(chance, networks)
    for node in nodes.values():
        if chance.random() < 0.3:
            node["loopback"] = "true"
    pairs = list(combinations(nodes, 2))
    links = [
        random_link(chance, pair)
        for pair in chance.sample(pairs, min(len(pairs), chance.randint(0, len(names))))
    ]
    return {"name": "lab", "networks": networks, "nodes": nodes, "links": links}


def random_network(chance: Random, routers: list[str]) -> File:
    network: File = {"gateway": chance.choice(["host", "none", *routers])}
    network["ipv6"] = chance.choice(["false", "false", "true", "only"])
    if network["ipv6"] == "false" and chance.random() < 0.3:
        network["subnet"] = chance.choice(["/26", "/22"])
    if network["gateway"] != "none" and chance.random() < 0.2:
        network["internal"] = "true"
    return network


def some_networks(chance: Random, networks: File) -> File:
    return {"networks": chance.sample(sorted(networks), chance.randint(0, min(3, len(networks))))}


def random_link(chance: Random, pair: tuple[str, str]) -> File:
    link: File = {"endpoints": list(pair), "cost": chance.randint(1, 3)}
    if chance.random() < 0.3:
        link["ipv6"] = chance.choice(["true", "only"])
    elif chance.random() < 0.1:
        link["subnet"] = "none"
    return link


def change(chance: Random, file: File) -> File:
    """The file with a network, node or link more or less."""
    changed: File = json.loads(json.dumps(file))
    chance.choice([_add_network, _drop_network, _add_node, _drop_node, _add_link, _drop_link])(
        chance, changed
    )
    return changed


def _add_network(chance: Random, file: File) -> None:
    first = chance.random() < 0.5
    network = {"new": random_network(chance, [])}
    file["networks"] = {**network, **file["networks"]} if first else {**file["networks"], **network}
    file["nodes"][chance.choice(sorted(file["nodes"]))]["networks"].append("new")


def _drop_network(chance: Random, file: File) -> None:
    gone = chance.choice(sorted(file["networks"]))
    del file["networks"][gone]
    for node in file["nodes"].values():
        node["networks"] = [name for name in node["networks"] if name != gone]


def _add_node(chance: Random, file: File) -> None:
    node = {"new": {**some_networks(chance, file["networks"]), "loopback": "true"}}
    file["nodes"] = {**node, **file["nodes"]}


def _drop_node(chance: Random, file: File) -> None:
    gone = chance.choice(sorted(file["nodes"]))
    del file["nodes"][gone]
    file["links"] = [link for link in file["links"] if gone not in link["endpoints"]]
    for network in file["networks"].values():
        if network["gateway"] == gone:
            network["gateway"] = "none"
            network.pop("internal", None)


def _add_link(chance: Random, file: File) -> None:
    linked = {tuple(link["endpoints"]) for link in file["links"]}
    if free := [pair for pair in combinations(file["nodes"], 2) if pair not in linked]:
        file["links"].insert(0, random_link(chance, chance.choice(free)))


def _drop_link(chance: Random, file: File) -> None:
    if file["links"]:
        file["links"].remove(chance.choice(file["links"]))
