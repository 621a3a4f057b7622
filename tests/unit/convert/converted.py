"""What the tests of convert/ share: what a conversion prints must load, and plan."""

from __future__ import annotations

from netfab.convert.draft import Converted
from netfab.objects.original import Original
from netfab.plan.facts import Facts, FoundNic
from netfab.plan.planner import plan
from netfab.topology.load import load
from netfab.topology.schema import Topology

NIC = FoundNic(Original("", 2, "00:16:3e:00:00:07", 1500, 0, True))


def loaded(found: Converted) -> Topology:
    """The topology of what was printed."""
    return load(found.text.encode(), "-", "/lab", {})


def planned(found: Converted) -> Topology:
    """The topology of what was printed, seen to plan on some host."""
    topology = loaded(found)
    plan(
        topology._replace(reserved=()),
        (),
        Facts(nics={"enp0s3": NIC}, links=frozenset({"br-clab"})),
        "/run/netfab",
    )
    return topology


def left(found: Converted) -> dict[str, str]:
    """`PATH` of what was left out, and `LINE: reason`."""
    return {each.at.path: f"{each.at.line}: {each.reason}" for each in found.left}
