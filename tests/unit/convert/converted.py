"""What the tests of convert/ share: what a conversion prints must load, and plan."""

from __future__ import annotations

from netfab.convert.draft import Converted
from netfab.plan.facts import Facts
from netfab.plan.planner import plan
from netfab.topology.load import load
from netfab.topology.schema import Topology


def planned(found: Converted) -> Topology:
    """The topology of what was printed, seen to plan on some host."""
    topology = load(found.text.encode(), "-", "/lab", {})
    plan(topology._replace(reserved=()), (), Facts(), "/run/netfab")
    return topology


def left(found: Converted) -> dict[str, str]:
    """`PATH` of what was left out, and `LINE: reason`."""
    return {each.at.path: f"{each.at.line}: {each.reason}" for each in found.left}
