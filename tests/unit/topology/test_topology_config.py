"""`netfab config`: the file in full loads again to the same topology."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from topology_samples import EVERY_KEY, TOPOLOGIES, load_text, without_places

from netfab.topology import grammar
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
        'networks: {n: {}}\nnodes: {a: {scale: 2, networks: [n], publish: ["127.0.0.{n}:80:80"]}}',
    ],
)
def test_odd_texts_and_scales_load_again_to_the_same(text: str) -> None:
    topology = load_text(text)

    assert without_places(load_text(config(topology))) == without_places(topology)


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        ("ready: {tcp: 80, within: 60000000us}", "within: 60s"),
        ("ready: {tcp: 80, within: 1.5s}", "within: 1500ms"),
        ("ready: {tcp: 80, within: 2h}", "within: 7200s"),
        ("memory: 536870912", "memory: 512m"),
        ("memory: 10000001", "memory: 10000001"),
        ("cpus: 1.50", "cpus: 1.5"),
        ("networks: {n: {delay: 20000us}}", "delay: 20ms"),
        ("networks: {n: {rate: 100000kbit}}", "rate: 100mbit"),
        ("networks: {n: {loss: 0.10%}}", "loss: 0.1%"),
    ],
)
def test_quantities_are_printed_as_people_write_them(written: str, printed: str) -> None:
    text = config(load_text(f"networks: {{n: {{}}}}\nnodes: {{a: {{{written}}}}}"))

    assert f" {printed}\n" in text


@given(st.integers(0, grammar.MAX_DURATION), st.integers(1, grammar.MAX_RATE), st.integers(0, 10**6))
def test_what_is_printed_of_a_quantity_is_read_as_the_same(time: int, rate: int, share: int) -> None:
    assert grammar.duration(grammar.duration_text(time)) == time
    assert grammar.rate(grammar.rate_text(rate)) == rate
    assert grammar.share(grammar.share_text(share)) == share


@given(st.integers(1, grammar.MAX_SIZE))
def test_what_is_printed_of_a_size_is_read_as_the_same(size: int) -> None:
    assert grammar.size(grammar.size_text(size)) == size


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
    vxlan:
      port: 4789
      control: static
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
