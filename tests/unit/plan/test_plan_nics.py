"""Links that end on the host: on a NIC, through one, or at an interface of their own."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from planning import addresses, of_kind, planned, read, routes, subnet_leases, subnets

from netfab.errors import NetfabError, Several
from netfab.objects.base import Fabric
from netfab.objects.macvlan import Macvlan
from netfab.objects.nic import Nic
from netfab.objects.original import Original
from netfab.objects.veth import End, Veth
from netfab.objects.vlan import Vlan
from netfab.plan.facts import FoundNic
from netfab.plan.names import vlan_link
from netfab.plan.planner import Plan, summary
from netfab.plan.subnets import Reservation

ETH0 = FoundNic(Original("", 2, "00:16:3e:00:00:07", 1400, 0, True))


def on_nic(links: str, nodes: str = "{r: {}, s: {}}", **facts: Any) -> Plan:
    nics = {"eth0": ETH0, "eth1": ETH0._replace(original=ETH0.original._replace(mac="00:16:3e:00:00:08"))}
    return planned(f"name: lab\nnodes: {nodes}\nlinks: {links}", **{"nics": nics, "machine": "m1", **facts})


def host_end(plan: Plan) -> End:
    (found,) = of_kind(plan, Veth)
    assert found.a.link == ("host", "lab0")
    return found.a


def refusals(links: str, **facts: Any) -> list[str]:
    with pytest.raises(NetfabError) as caught:
        on_nic(links, **facts)
    return sorted(map(str, caught.value.errors if isinstance(caught.value, Several) else [caught.value]))


def test_a_macvlan_has_the_nics_mtu_and_a_mac_of_this_machine() -> None:
    here, there = (on_nic("[[r, macvlan:eth0]]", machine=machine) for machine in ("m1", "m2"))

    (found,), (other,) = of_kind(here, Macvlan), of_kind(there, Macvlan)
    assert (found.end.mtu, found.nic.text, found.end.link.text) == (1400, "eth0", "eth0")
    assert found.end.mac != other.end.mac


def test_a_moved_nic_keeps_its_mac() -> None:
    (found,) = of_kind(on_nic("[[r, nic:eth0]]"), Nic)

    assert (found.name, found.end.mac, found.original) == ("eth0", "00:16:3e:00:00:07", ETH0.original)


def test_a_written_mac_and_mtu_count() -> None:
    plan = on_nic("[[{node: r, mac: '02:00:00:00:00:07', mtu: 1300}, nic:eth0], [s, macvlan:eth1]]")

    (found,) = of_kind(plan, Nic)
    assert (found.end.mac, found.end.mtu) == ("02:00:00:00:00:07", 1300)


def test_a_link_to_a_nic_has_a_subnet_as_others_have() -> None:
    plan = on_nic("[[r, macvlan:eth0], [{node: s, ip: 198.51.100.3/24}, macvlan:eth0]]")

    assert subnets(plan) == {"r macvlan:eth0": "10.0.0.0/31", "s macvlan:eth0": "198.51.100.0/24"}
    assert addresses(plan, "s") == ["eth0 198.51.100.3/24"]


def test_the_subnet_of_a_nics_wire_may_be_the_hosts_own() -> None:
    lan = Reservation(ip_network("198.51.100.0/24"), "routed via eth0 on this host")

    plan = on_nic("[[{node: r, ip: 198.51.100.3/24}, macvlan:eth0]]", reservations=(lan,))

    assert {lease.kind for lease in subnet_leases(plan)} == {"shared"}


def test_what_a_moved_nic_had_is_leased_before_it_moves() -> None:
    plan = on_nic("[[r, nic:eth0], [s, macvlan:eth1]]")

    (lease,) = [lease for lease in plan.claims if lease.kind == "inside"]
    (claimed,) = Fabric.from_json(lease.value, (Nic,)).values()
    assert claimed == of_kind(plan, Nic)[0]


def test_a_moved_nic_is_planned_again_as_it_was() -> None:
    before = on_nic("[[r, nic:eth0]]")

    again = on_nic("[[r, nic:eth0]]", nics={"eth0": ETH0._replace(moved=True)}, uplinks=())

    assert again.fabric == before.fabric
    assert again.claims == before.claims


def test_a_nic_that_is_down_is_told() -> None:
    down = ETH0._replace(original=ETH0.original._replace(up=False))

    plan = on_nic("[[r, macvlan:eth0]]", nics={"eth0": down})

    assert plan.warnings == ("eth0 is down, so nothing passes it; `ip link set eth0 up`",)


@pytest.mark.parametrize(
    ("links", "facts", "told"),
    [
        ("[[r, macvlan:eth9]]", {}, "this host has no NIC eth9"),
        ("[[r, nic:eth9]]", {}, "this host has no NIC eth9"),
        ("[[r, macvlan:eth0]]", {"nics": {"eth0": ETH0._replace(master="br0")}}, "eth0 is a port of br0"),
        (
            "[[r, macvlan:eth0]]",
            {"nics": {"eth0": ETH0._replace(hardware=32)}},
            "eth0 is IP over InfiniBand, which is not supported yet",
        ),
        (
            "[[r, nic:eth0]]",
            {"uplinks": ("eth0",)},
            "eth0 has the only default route of this host, which would be cut off",
        ),
        (
            "[[r, macvlan:eth0]]",
            {"nics": {"eth0": ETH0._replace(moved=True)}},
            "eth0 is moved into a node, and can't be shared meanwhile",
        ),
    ],
)
def test_what_cannot_be_had_of_a_nic_is_named_with_its_place(
    links: str, facts: dict[str, Any], told: str
) -> None:
    (error,) = refusals(links, **facts)

    assert error == f"lab.yaml:3:{links.index(',') + 10}: links[0].endpoints[1]: {told}"


def test_a_nic_is_moved_once() -> None:
    told = refusals("[[r, nic:eth0], [s, nic:eth0]]")

    assert [error.rpartition(": ")[2] for error in told] == [
        "eth0 can't be moved into a node and be used elsewhere, too"
    ] * 2


def test_keys_of_the_end_on_the_host_are_refused() -> None:
    (told,) = refusals("[[r, {node: 'macvlan:eth0', ip: 198.51.100.3/24}]]")

    assert told.endswith("`ip` has no meaning for macvlan:eth0, an interface of the host")


def test_moving_one_of_two_ways_out_is_fine() -> None:
    assert of_kind(on_nic("[[r, nic:eth0]]", uplinks=("eth0", "eth1")), Nic)


def test_a_link_to_the_host_is_a_cable_with_an_address_at_both_ends() -> None:
    plan = on_nic("[[r, host:lab0]]")

    assert addresses(plan, "host") == ["lab0 10.0.0.0/31"]
    assert addresses(plan, "r") == ["eth0 10.0.0.1/31"]
    assert routes(plan, "r") == []


def test_an_end_on_the_host_may_have_its_own_address_mac_and_mtu() -> None:
    written = "{node: 'host:lab0', ip: 10.3.0.9/24, mac: '02:00:00:00:00:09'}"

    plan = on_nic(f"[[{{node: r, ip: 10.3.0.1/24}}, {written}]]")

    assert addresses(plan, "host") == ["lab0 10.3.0.9/24"]
    assert host_end(plan).mac == "02:00:00:00:00:09"


def test_the_host_takes_no_address_that_the_node_writes() -> None:
    plan = on_nic("[[{node: r, ip: 10.3.0.0/31}, host:lab0]]")

    assert addresses(plan, "host") == ["lab0 10.3.0.1/31"]


def test_an_end_on_the_host_hears_no_router_advertisements() -> None:
    assert not host_end(on_nic("[[r, host:lab0]]")).settings.accept_ra


def test_the_summary_names_the_far_side() -> None:
    text = "name: lab\nnodes: {r: {}}\nlinks: [[r, macvlan:eth0]]"
    plan = planned(text, nics={"eth0": ETH0})

    assert summary(read(text), plan)["links"] == [
        {"endpoints": ["r:eth0", "macvlan:eth0"], "addresses": [["10.0.0.0/31"], []]}
    ]


def vlan_of(plan: Plan) -> tuple[str, str, int]:
    (found,) = of_kind(plan, Vlan)
    return found.end.link.text, found.base.text, found.vlan


def test_a_link_to_a_vlan_of_a_nic_is_on_a_link_of_its_own_that_all_share() -> None:
    plan = on_nic("[[r, macvlan:eth0.30], [s, macvlan:eth0.30]]")

    assert vlan_of(plan) == ("eth0.30", "eth0", 30)
    assert {found.nic.text for found in of_kind(plan, Macvlan)} == {"eth0.30"}
    assert {found.end.mtu for found in of_kind(plan, Macvlan)} == {1400}


def test_a_vlan_that_others_have_a_link_for_is_used_under_their_name() -> None:
    nics = {"eth0": ETH0, "office": ETH0._replace(tag=("eth0", 30))}

    plan = on_nic("[[r, macvlan:eth0.30]]", nics=nics)

    assert of_kind(plan, Vlan) == []
    assert [found.nic.text for found in of_kind(plan, Macvlan)] == ["office"]


def test_a_nic_whose_name_looks_like_a_vlan_is_itself() -> None:
    plan = on_nic("[[r, macvlan:eth0.30]]", nics={"eth0": ETH0, "eth0.30": ETH0})

    assert of_kind(plan, Vlan) == []


@pytest.mark.parametrize(("nic", "taken"), [("enp175s0f1np1", ""), ("eth0", "eth0.4001")])
def test_a_vlans_link_has_a_name_of_ours_where_the_usual_one_can_not_be(nic: str, taken: str) -> None:
    name = vlan_link("lab", nic, 4001, {taken})

    assert name.startswith("nf")
    assert len(name) <= 15


def test_a_vlan_of_a_nic_that_is_moved_away_can_not_be_had() -> None:
    assert refusals("[[r, nic:eth0], [s, macvlan:eth0.30]]") == [
        "lab.yaml:3:13: links[0].endpoints[1]: eth0 can't be moved into a node and be used elsewhere, too"
    ]
