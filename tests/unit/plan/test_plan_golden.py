"""The plans of the files in topologies/, as a person reads them; `pytest --update-golden` writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from planning import RUN

from netfab.plan.facts import Device, Facts
from netfab.plan.placement import plan_hosts
from netfab.plan.planner import plan
from netfab.topology.load import load

TOPOLOGIES = Path(__file__).parents[3] / "topologies"
HOST = Facts(machine="golden", uplinks=("eth0",), nameservers=("192.0.2.53",))


@pytest.mark.parametrize("file", sorted(TOPOLOGIES.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_plan_of_a_topology_is_as_it_was(file: Path, golden: Callable[[str, str], None]) -> None:
    topology = load(file.read_bytes(), file.name, str(TOPOLOGIES), {}, None)

    if topology.hosts:
        facts = {
            host.name: HOST._replace(devices=(Device("eth0", 1500, (host.address,)),))
            for host in topology.hosts.values()
            if host.address
        }
        plans = plan_hosts(topology, (), facts, dict.fromkeys(facts, RUN))
    else:
        plans = {"": plan(topology, (), HOST, RUN)}

    golden(
        f"{file.stem}.txt",
        "".join(
            f"{f'{host}: ' if host else ''}{thing}\n"
            for host, found in plans.items()
            for thing in found.fabric.values()
        ),
    )
