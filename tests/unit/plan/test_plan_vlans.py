"""Interfaces named BASE.N: VLANs on a cable that they share."""

from __future__ import annotations

import pytest
from planning import addresses, ends, of_kind, planned, read

from netfab.errors import NetfabError, Several
from netfab.objects.base import HOST, Name, node_space
from netfab.objects.port import Port
from netfab.objects.veth import Veth
from netfab.objects.vlan import Vlan
from netfab.plan.part import part_of
from netfab.plan.planner import Plan

TRUNK = """
name: lab
networks: {red: {}, blue: {}, green: {}}
nodes:
  r: {networks: {red: {name: eth0.10}, blue: {name: eth0.20}%s}}
  s: {networks: [red]}
"""


def vlans(plan: Plan, space: str) -> list[tuple[str, str, int]]:
    """(link, what is below, VLAN) of each there."""
    return sorted(
        (found.end.link.text, found.base.text, found.vlan)
        for found in of_kind(plan, Vlan)
        if found.base.space == space
    )


def test_two_networks_come_to_a_node_on_one_cable() -> None:
    plan = planned(TRUNK % "")

    (cable,) = [veth for veth in of_kind(plan, Veth) if veth.b.link.space == node_space("lab", "r")]
    inside, outside = vlans(plan, node_space("lab", "r")), vlans(plan, HOST)
    assert cable.b.link.text == "eth0"
    assert inside == [("eth0.10", "eth0", 10), ("eth0.20", "eth0", 20)]
    assert {(base, vlan) for _, base, vlan in outside} == {(cable.a.link.text, vlan) for vlan in (10, 20)}
    assert addresses(plan, "r") == ["eth0.10 10.0.0.2/24", "eth0.20 10.0.1.2/24"]


def test_what_is_a_port_of_each_bridge_is_the_hosts_link_for_the_vlan() -> None:
    plan = planned(TRUNK % "")

    tagged = {found.end.link for found in of_kind(plan, Vlan) if found.base.space == HOST}
    ports = {port.link: port.bridge.text for port in of_kind(plan, Port)}
    assert sorted(ports[link] for link in tagged) == ["br-blue", "br-red"]


def test_an_interface_by_the_name_of_the_cable_is_what_the_vlans_are_on() -> None:
    plan = planned(TRUNK % ", green: {name: eth0}")

    (cable,) = [veth for veth in of_kind(plan, Veth) if veth.b.link.space == node_space("lab", "r")]
    assert {base for _, base, _ in vlans(plan, HOST)} == {cable.a.link.text}
    assert len(of_kind(plan, Port)) == 4


def test_no_planned_name_is_that_of_a_cable() -> None:
    plan = planned(TRUNK % ", green: {}")

    assert [nic.name for nic in plan.layout.nics["r"]] == ["eth0.10", "eth0.20", "eth1"]


def test_links_of_several_vlans_share_a_cable_between_two_nodes() -> None:
    plan = planned("name: lab\nnodes: {r: {}, s: {}}\nlinks: [[r:eth0.7, s:eth3.7], [r:eth0.8, s:eth3.8]]")

    (cable,) = of_kind(plan, Veth)
    assert [str(cable.a.link), str(cable.b.link)] == ["eth0 of r", "eth3 of s"]
    assert vlans(plan, node_space("lab", "s")) == [("eth3.7", "eth3", 7), ("eth3.8", "eth3", 8)]
    assert ends(plan).keys() == {"r eth0", "s eth3"}


def test_the_cable_is_as_wide_as_what_it_carries() -> None:
    plan = planned((TRUNK % "").replace("name: eth0.20", "name: eth0.20, mtu: 9000"))

    assert ends(plan)["r eth0"].mtu == 9000


def test_a_part_of_a_plan_has_the_cable_and_both_sides_of_its_vlans() -> None:
    text = TRUNK % ""
    plan = planned(text)

    part = part_of(read(text), plan, ["r"])

    assert len([port for port in part.fabric.values() if isinstance(port, Port)]) == 2
    assert of_kind(part, Vlan) == of_kind(plan, Vlan)
    assert Name(HOST, "br-green") not in part.fabric


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        (
            "links: [[r:eth0.7, s:eth3]]",
            "eth0.7 of r is VLAN 7 on eth0, and eth3 of s at the other end is not",
        ),
        (
            "links: [[r:eth0.7, s:eth3.8]]",
            "eth0.7 of r is VLAN 7 on eth0, and eth3.8 of s at the other end is not",
        ),
        (
            "links: [[r:eth0.7, s:eth3.7], [r:eth0.8, s:eth4.8]]",
            "eth0 of r is a cable to eth3 of s, and can't be one to eth4 of s, too",
        ),
        (
            "links: [[r:eth0.7, s:eth3.7], [r:eth0, s:eth4]]",
            "eth0 of r is a cable to eth3 of s, and can't be one to eth4 of s, too",
        ),
        (
            "networks: {a: {}}\nnodes: {r: {networks: {a: {name: eth0.9}}}, s: {}}\n"
            "links: [[r:eth0.7, s:eth3.7]]",
            "eth0 of r is a cable to the host, and can't be one to eth3 of s, too",
        ),
        (
            "networks: {a: {}}\nnodes: {r: {networks: {a: {name: eth0.9.7}}}}",
            "eth0.9.7 of r is VLAN 7 on eth0.9, which is a VLAN itself",
        ),
        (
            "links: [[{node: r, name: eth0.7}, host:lab0]]",
            "eth0.7 of r is VLAN 7 on eth0, and host:lab0 is not a cable of it",
        ),
        (
            "networks: {a: {}, b: {}}\n"
            "nodes: {r: {networks: {a: {name: eth0, mtu: 1400}, b: {name: eth0.7, mtu: 1500}}}}",
            "eth0.7 has an MTU of 1500, and its cable one of 1400",
        ),
    ],
)
def test_what_can_not_be_on_one_cable_is_told_with_its_place(rest: str, told: str) -> None:
    nodes = "" if "nodes:" in rest else "nodes: {r: {}, s: {}}\n"

    with pytest.raises(NetfabError) as caught:
        planned(f"name: lab\n{nodes}{rest}")

    errors = caught.value.errors if isinstance(caught.value, Several) else (caught.value,)
    assert told in {error.message for error in errors}
    assert all(error.at is not None and error.at.line >= 2 for error in errors)
