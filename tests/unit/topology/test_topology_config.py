"""`netfab config`: the file in full loads again to the same topology."""

from __future__ import annotations

from pathlib import Path

import pytest
from topology_samples import EVERY_KEY, TOPOLOGIES, load_text, without_places

from netfab.topology.config import config


def test_a_file_with_every_key_loads_again_to_the_same() -> None:
    topology = load_text(EVERY_KEY)

    assert without_places(load_text(config(topology))) == without_places(topology)


@pytest.mark.parametrize("file", sorted(TOPOLOGIES.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_files_that_come_with_netfab_load_again_to_the_same(file: Path) -> None:
    topology = load_text(file.read_bytes())

    assert without_places(load_text(config(topology))) == without_places(topology)


@pytest.mark.parametrize(
    "text",
    [
        'nodes: {a: {env: {A: "$$x ${Y:-$$}", B: "line\\n\\ttab", C: "\\e[0m"}}}',
        'nodes: {a: {env: {A: "\\U0001F600", B: "null", C: ""}}}',
        'networks: {n: {}}\nnodes: {a: {scale: 12, networks: [n], publish: ["7{n}0:80"], user: "{node}"}}',
        'networks: {n: {}}\nnodes: {a: {scale: 2, networks: [n], publish: ["81-82:80", "91-94:90-91"]}}',
        "nodes: {a: {command: none, entrypoint: none}, b: {command: 'x | y', cpus: 0.123456789}}",
        "nodes: {a: {scale: 1, env: {A: '1'}}}",
    ],
)
def test_odd_texts_and_scales_load_again_to_the_same(text: str) -> None:
    topology = load_text(text)

    assert without_places(load_text(config(topology))) == without_places(topology)


def test_it_is_a_file_that_a_person_reads() -> None:
    text = "name: t\npools: [10.0.0.0/8]\nnetworks: {a: {gateway: r}}\nnodes: {r: {}, h1..2: {networks: [a]}}"

    assert config(load_text(text)) == GOLDEN


GOLDEN = """\
name: t
pools:
  - prefix: 10.0.0.0/8
    size: 24
store: sqlite
networks:
  a:
    ipv6: false
    gateway: r
    internal: false
    isolated: false
    masquerade: false
    mtu: auto
    external: false
    vxlan: none
    encrypt: false
nodes:
  r:
    image: host
    mode: bridge
    networks:
      a:
        mtu: auto
        spoof: deny
    restart: no
    routes: auto
    forward: false
  h1:
    image: host
    mode: bridge
    networks:
      a:
        mtu: auto
        spoof: deny
    restart: no
    routes: auto
    forward: false
  h2:
    image: host
    mode: bridge
    networks:
      a:
        mtu: auto
        spoof: deny
    restart: no
    routes: auto
    forward: false
"""
