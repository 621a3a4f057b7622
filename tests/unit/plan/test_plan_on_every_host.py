"""What `validate` says: what can't be planned on any host, with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from planning import read

from netfab.errors import NetfabError
from netfab.plan.layout import refuse_on_every_host
from netfab.topology.load import load

TOPOLOGIES = sorted((Path(__file__).parents[3] / "topologies").glob("*.yaml"))
WRONG = [
    (
        "networks: {a: {subnet: 10.8.0.0/16}, b: {subnet: 10.8.1.0/24}}\nnodes: {n: {networks: [a, b]}}",
        "lab.yaml:1:50: networks.b.subnet: 10.8.1.0/24 overlaps 10.8.0.0/16, network a of this file",
    ),
    (
        "networks: {a: {subnet: 10.8.0.0/16}}\nnodes: {x: {}, y: {}}\n"
        "links: [{endpoints: [x, y], subnet: 10.8.1.0/24}]",
        "lab.yaml:3:37: links[0].subnet: 10.8.1.0/24 overlaps 10.8.0.0/16, network a of this file",
    ),
    (
        "avoid: [10.8.0.0/16]\nnetworks: {a: {subnet: 10.8.1.0/24}}\nnodes: {}",
        "lab.yaml:2:24: networks.a.subnet: 10.8.1.0/24 overlaps 10.8.0.0/16, avoid",
    ),
    (
        "networks: {a: {gateway: none}}\nnodes: {n: {networks: {a: {gateway: true}}}}",
        "lab.yaml:2:37: nodes.n.networks.a.gateway: n has its default route on a, where there is no gateway"
        " and no router",
    ),
    (
        "networks: {a: {}}\nnodes: {n: {networks: {a: {ip: 1.2.3.4}}}}",
        "lab.yaml:2:32: nodes.n.networks.a.ip: 1.2.3.4 is a public address, and no `subnet` says that"
        " a has it",
    ),
]
OWN = [
    "networks: {a: {subnet: 1.2.3.0/24}}\nnodes: {n: {networks: {a: {ip: 1.2.3.4}}}}",
    "networks: {a: {}}\nnodes: {n: {networks: {a: {ip: 1.2.3.4/24}}}}",
    "pools: [1.2.0.0/16]\nnetworks: {a: {}}\nnodes: {n: {networks: {a: {ip: 1.2.3.4}}}}",
]


@pytest.mark.parametrize("text", OWN)
def test_public_addresses_are_taken_where_the_file_says_so(text: str) -> None:
    refuse_on_every_host(read(text))


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_it_is_told_with_its_place(text: str, message: str) -> None:
    with pytest.raises(NetfabError) as refused:
        refuse_on_every_host(read(text))

    assert str(refused.value) == message


@pytest.mark.parametrize(
    "text",
    [
        "networks: {a: {external: shop/back}}\nnodes: {n: {networks: {a: {gateway: true}}}}",
        "networks: {a: {external: true, bridge: br7}}\nnodes: {n: {networks: [a]}}",
        "networks: {a: {}}\nnodes: {n: {attach: 'docker:db', networks: [a]}, m: {}}\n"
        "links: [[m, 'macvlan:eth0']]",
    ],
)
def test_what_a_host_has_to_be_asked_for_is_right(text: str) -> None:
    refuse_on_every_host(read(text))


@pytest.mark.parametrize("file", TOPOLOGIES, ids=lambda file: file.stem)
def test_every_topology_is_right(file: Path) -> None:
    refuse_on_every_host(load(file.read_bytes(), str(file), str(file.parent), {}, None))
