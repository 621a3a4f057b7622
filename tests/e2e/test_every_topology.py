"""Each file of topologies/ for one host: applied, applied again, changed, damaged, mended, destroyed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab import Lab
from machine import differences

TOPOLOGIES = Path(__file__).parents[2] / "topologies"

FILES = [
    path for path in sorted(TOPOLOGIES.glob("*.yaml")) if "hosts" not in yaml.safe_load(path.read_text())
]

each_file = pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)


@each_file
def test_a_second_apply_changes_nothing(lab: Lab, file: Path) -> None:
    lab.netfab("apply", str(file))

    assert lab.netfab("apply", str(file)).out == f"No changes. The kernel matches {file}.\n"
    assert lab.netfab("diff", str(file)).out == f"No changes. The kernel matches {file}.\n"
    assert lab.netfab("drift").out == f"No changes. The kernel matches {file.stem}.\n"


@each_file
def test_the_file_of_what_is_applied_plans_to_no_changes(lab: Lab, file: Path) -> None:
    lab.netfab("apply", str(file))

    lab.write(lab.netfab("status", file.stem, "-o", "topology").out)

    planned = lab.netfab("plan", "--take-over", "topology.yaml").out
    assert planned == "No changes. The kernel matches topology.yaml.\n"


@each_file
def test_destroy_leaves_the_host_as_it_was(lab: Lab, file: Path) -> None:
    lab.outside()
    before = lab.state()

    lab.netfab("apply", str(file))
    lab.netfab("destroy", str(file))

    assert differences(before, lab.state()) == []
    assert lab.netfab("ls", "-o", "json").json["fabrics"] == []


@each_file
def test_a_node_comes_and_goes_without_touching_the_others(lab: Lab, file: Path) -> None:
    content = yaml.safe_load(file.read_text())
    lab.write(yaml.safe_dump(content))
    lab.netfab("apply")
    before = lab.state()

    lab.write(yaml.safe_dump(with_one_more(content)))
    grown = lab.netfab("apply", "-o", "json").json["changes"]
    lab.write(yaml.safe_dump(content))
    shrunk = lab.netfab("apply", "-o", "json").json["changes"]

    assert {change["action"] for change in grown} <= {"create", "update"}
    assert {change["action"] for change in shrunk} <= {"delete", "update"}
    assert not any(change["restarts"] for change in grown)
    assert differences(before, lab.state()) == []


@each_file
def test_an_address_changes_in_place(lab: Lab, file: Path) -> None:
    content = yaml.safe_load(file.read_text())
    grown = with_one_more(content)
    lab.write(yaml.safe_dump(grown))
    network = lab.netfab("apply", "-o", "json").json["nodes"]["onemore"]["addresses"]
    (old, *others) = next(iter(network.values()))
    new = old.rpartition(".")[0] + ".251"

    grown["nodes"]["onemore"]["networks"] = {next(iter(network)): {"ip": [new, *others]}}
    lab.write(yaml.safe_dump(grown))
    changes = lab.netfab("apply", "-o", "json").json["changes"]

    assert {change["kind"] for change in changes} <= {"address", "route", "file", "firewall"}
    assert lab.netfab("ip", "onemore").out.split() == [new, *others]


@each_file
def test_damage_is_seen_and_mended(lab: Lab, file: Path) -> None:
    nodes = lab.netfab("apply", str(file), "-o", "json").json["nodes"]
    namespace = next(node["namespace"] for node in nodes.values() if node["interfaces"])
    before = lab.state()

    lab.shell(f"ip -n {Path(namespace).name} link set eth0 down")
    drift = lab.netfab("drift", code=2)
    lab.netfab("reconcile")

    assert "eth0 of " in drift.out
    assert lab.netfab("drift").out.startswith("No changes.")
    assert differences(before, lab.state()) == []


def with_one_more(content: dict[str, Any]) -> dict[str, Any]:
    """The same and one more node, on the first network."""
    network = re.sub(r"(\d+)\.\.\d+$", r"\1", next(iter(content["networks"])))
    return content | {"nodes": content["nodes"] | {"onemore": {"networks": [network]}}}
