"""No input gives a traceback, a hang or a control character: damaged files, and what is none at all."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from topology_samples import EVERY_KEY, TOPOLOGIES, load_text, without_places

from netfab.errors import NetfabError
from netfab.plan.facts import Facts, FoundGuest
from netfab.plan.planner import plan
from netfab.topology.config import config

MUTANTS = int(os.environ.get("NETFAB_TEST_MUTANTS", "10000"))  # a nightly run takes 100,000
PARTS = 4  # that run in parallel
GOOD = [EVERY_KEY.encode(), *(file.read_bytes() for file in sorted(TOPOLOGIES.glob("*.yaml")))]
SPICE = (
    b'null ~ {n} {node} {ip:x} .. 1..3 1..9999999 &a *a <<: [] {} \'\' "\\e" "\\0" ::1 - : ! !!x ${X} ${ $$ '
    b"\xff \xe2\x80\xae \xd9\xa1 99999999999999999999 1e9 0x1 -1 host none / % ' \" # | > ? x-y \t"
).split(b" ")
WORDS = SPICE + sorted({word for text in GOOD for word in text.translate(None, b"{}[],").split()})


def mutants(seed: int, count: int) -> Iterator[bytes]:
    chance = random.Random(seed)
    for _ in range(count):
        text = bytearray(chance.choice(GOOD))
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(text) + 1)
            match chance.randrange(5):
                case 0:
                    del text[at : at + chance.randint(1, 8)]
                case 1:
                    text[at:at] = chance.choice(WORDS)
                case 2:
                    text[at : at + chance.randint(1, 8)] = b" " + chance.choice(WORDS)
                case 3:
                    start = chance.randrange(len(text) + 1)
                    text[at:at] = text[start : start + chance.randint(1, 40)]
                case 4:
                    text[at : at + 1] = bytes([chance.randrange(256)])
        yield bytes(text)


def check(text: bytes) -> bool:
    """Whether it loads; then also that it can be planned, and written out and loaded again to the same."""
    message = ""
    try:
        topology = load_text(text)
    except NetfabError as error:
        message = str(error)
    if message:
        assert message.replace("\n", "").isprintable()
        return False
    assert without_places(load_text(config(topology))) == without_places(topology)
    guests = {
        node.attach: FoundGuest(node.attach, "/proc/1/ns/net", 1, "1") for node in topology.nodes.values()
    }
    told = ""
    try:
        plan(topology, (), Facts(guests=guests, uplinks=("eth0",)), "/run/netfab")
    except NetfabError as error:
        told = str(error)
    assert told == "" or told.replace("\n", "").isprintable()
    return True


@pytest.mark.parametrize("part", range(PARTS))
def test_a_damaged_file_is_a_topology_that_can_be_planned_or_an_error(part: int) -> None:
    count = MUTANTS // PARTS

    loaded = sum(check(text) for text in mutants(seed=part, count=count))

    assert 0 < loaded < count


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_topology_or_an_error(text: bytes) -> None:
    check(text)


YAML = st.recursive(
    st.text(max_size=12) | st.sampled_from([word.decode(errors="ignore") for word in WORDS]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300)
@given(
    st.sampled_from(
        ["networks: {a: %s}", "nodes: {a: %s}", "links: [%s]", "kinds: {a: %s}", "defaults: %s", "%s"]
    ),
    st.sampled_from(
        ["ip", "gateway", "subnet", "networks", "publish", "files", "ready", "scale", "env", "command", "x"]
    ),
    YAML,
)
def test_any_value_in_any_place_is_a_topology_or_an_error(place: str, key: str, value: object) -> None:
    check((place % json.dumps({key: value}, ensure_ascii=False)).encode(errors="replace"))


@pytest.mark.parametrize(
    "text",
    [
        "nodes: {" + "a1" * 3000 + ": {}}",
        "networks: {n" + "1" * 5000 + ": {}}",
        "nodes: {a: {env: {A: '" + "${" * 100_000 + "'}}}",
        "nodes: {a: {routes: ['" + "x " * 100_000 + "']}}",
        "nodes: {a: {ready: {log: '" + "(" * 5000 + "'}}}",
        "nodes: {a: {cpus: " + "9" * 400 + "}}",
        "nodes: {a: {publish: [1-65535:1-65535" + ", 1-65535:1-65535/udp" * 40 + "]}}",
        "nodes: {a: {networks: [" + "b," * 50_000 + "]}}",
        "kinds: {k: {env: {" + ",".join(f"A{n}: x" for n in range(2000)) + "}}}\n"
        "nodes: {" + ",".join(f"n{n}: {{kind: k}}" for n in range(2000)) + "}",
    ],
    ids=["name", "number", "variables", "route", "regex", "digits", "ports", "networks", "kinds"],
)
def test_what_is_long_is_a_topology_or_an_error_too(text: str) -> None:
    check(text.encode())
