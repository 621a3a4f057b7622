"""`netfab schema`: it takes what the loader takes. A small validator of the words that it uses is enough."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from topology_samples import EVERY_KEY, TOPOLOGIES

from netfab.topology import meanings
from netfab.topology.jsonschema import json_schema
from netfab.topology.load import TOP
from netfab.topology.network import NETWORK
from netfab.topology.node import NODE

TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}


class TextLoader(yaml.SafeLoader):
    """YAML as an editor reads it (1.2): no numbers of base 60, no `no` for false."""


TextLoader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag.rpartition(":")[2] in ("bool", "null", "merge")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    if first not in "yYnNoO"
}
TextLoader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[0-9]+$"), list("0123456789"))


def valid(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    if "$ref" in schema:
        return valid(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "not" in schema or ("enum" in schema and value not in schema["enum"]):
        return False
    if "anyOf" in schema and not any(valid(value, each, root) for each in schema["anyOf"]):
        return False
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if types and not any(
        isinstance(value, TYPES[each]) and not (isinstance(value, bool) and each in ("integer", "number"))
        for each in types
    ):
        return False
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        return False
    if isinstance(value, int) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        return False
    if isinstance(value, list):
        return all(valid(each, schema.get("items", {}), root) for each in value)
    if isinstance(value, dict):
        return all(valid_entry(key, each, schema, root) for key, each in value.items())
    return True


def valid_entry(key: str, value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    if not valid(key, schema.get("propertyNames", {}), root):
        return False
    if key in schema.get("properties", {}):
        return valid(value, schema["properties"][key], root)
    if any(re.search(pattern, key) for pattern in schema.get("patternProperties", {})):
        return True
    others = schema.get("additionalProperties", {})
    return others is not False and valid(value, others, root)


def accepted(text: str) -> bool:
    return valid(yaml.load(text, TextLoader), json_schema(), json_schema())


def test_it_takes_the_file_with_every_key() -> None:
    assert accepted(EVERY_KEY)


@pytest.mark.parametrize("file", sorted(TOPOLOGIES.glob("*.yaml")), ids=lambda file: file.stem)
def test_it_takes_the_files_that_come_with_netfab(file: Path) -> None:
    assert accepted(file.read_text())


@pytest.mark.parametrize(
    "text",
    [
        "nodse: {}",
        "nodes: {a: {ports: []}}",
        "nodes: {PC1: {}}",
        "nodes: []",
        "networks: {a: {mtu: big}}",
        "networks: {a: {mtu: 10}}",
        "networks: {a: {mac: 02:00:00:00:00:01}}",
        "networks: {a: {spoof: maybe}}",
        "nodes: {a: {files: {/x: {contents: y}}}}",
        "links: [{endpoints: [a, b], latency: 5ms}]",
    ],
)
def test_it_refuses_what_an_editor_should_mark(text: str) -> None:
    assert not accepted(text)


def test_variables_and_placeholders_stand_for_any_scalar() -> None:
    assert accepted('networks: {a: {mtu: "${MTU}", subnet: "10.{n}.0.0/24"}}\nnodes: {a1..2: {pids: "{n}0"}}')


def test_it_has_the_loaders_keys_and_is_json() -> None:
    schema = json.loads(json.dumps(json_schema()))

    assert schema["properties"].keys() == TOP.keys()
    assert schema["properties"]["nodes"]["additionalProperties"]["properties"].keys() == NODE.keys()
    assert schema["properties"]["networks"]["additionalProperties"]["properties"].keys() == NETWORK.keys()


def records(schema: Any) -> Iterator[Any]:
    """Every map with keys of ours, at every depth."""
    if isinstance(schema, dict):
        if "properties" in schema:
            yield schema
        schema = list(schema.values())
    if isinstance(schema, list):
        for each in schema:
            yield from records(each)


def test_every_key_says_what_it_means() -> None:
    found = [item for record in records(json_schema()) for item in record["properties"].items()]

    assert len(found) > 150
    assert [key for key, schema in found if not schema["description"].endswith(".")] == []
    assert json_schema()["properties"]["nodes"]["description"] == meanings.TOP["nodes"]


def test_nothing_is_said_of_a_key_that_there_is_not() -> None:
    said = {name: keys for name, keys in vars(meanings).items() if name.isupper() and isinstance(keys, dict)}
    tables = {frozenset(record["properties"]) for record in records(json_schema())}

    assert {name for name, keys in said.items() if frozenset(keys) not in tables} == {"_SUBNETS"}
