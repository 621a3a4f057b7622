"""Networks with an uplink: what the bridge gets, what stays reserved, and what is refused by name."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from planning import addresses, of_kind, planned, routes, subnets

from netfab.errors import NetfabError, Several
from netfab.objects.base import Fabric
from netfab.objects.borrowed import Borrowed
from netfab.objects.bridge import Bridge
from netfab.objects.kept import KeptAddress
from netfab.objects.original import Original
from netfab.objects.uplink import Uplink
from netfab.plan.facts import FoundNic, OpenVSwitch, Stacked
from netfab.plan.planner import Plan
from netfab.plan.subnets import Reservation

# 192.0.2.1/24, permanent: IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS.
ADDRESS = KeptAddress((2, 24, 0, 0), ((1, "c0000201"), (2, "c0000201"), (8, "80000000")))
LEASED = ADDRESS._replace(attrs=(*ADDRESS.attrs[:2], (8, "00000000")))
ETH0 = FoundNic(Original("", 2, "00:16:3e:00:00:07", 1400, 0, True, addresses=(ADDRESS,), accept_ra=True))
LAN = "lan: {uplink: eth0, subnet: 192.0.2.0/24, gateway: {external: 192.0.2.254}}"


def on_lan(networks: str = LAN, nodes: str = "web: {networks: [lan]}", **facts: Any) -> Plan:
    nics = {"eth0": ETH0, "eth1": ETH0._replace(original=ETH0.original._replace(addresses=()))}
    text = f"name: lab\nnetworks: {{{networks}}}\nnodes: {{{nodes}}}"
    return planned(text, facts.pop("leases", ()), **{"nics": nics, "machine": "m1", **facts})


def refusal(networks: str = LAN, **facts: Any) -> str:
    with pytest.raises(NetfabError) as caught:
        on_lan(networks, **facts)
    assert not isinstance(caught.value, Several)
    return str(caught.value)


def bridge_of(plan: Plan, name: str = "br-lan") -> Bridge:
    (found,) = (bridge for bridge in of_kind(plan, Bridge) if bridge.link.text == name)
    return found


def test_the_bridge_is_as_the_nic_was() -> None:
    bridge = bridge_of(on_lan())

    assert (bridge.mac, bridge.mtu, bridge.settings.accept_ra) == ("00:16:3e:00:00:07", 1400, True)


def test_the_bridge_passes_on_and_filters_as_the_nic_did() -> None:
    conf = tuple(1 if which in (1, 8) else 0 for which in range(1, 34))  # linux/ip.h: forwarding, rp_filter
    nic = ETH0._replace(original=ETH0.original._replace(conf=conf))

    settings = bridge_of(on_lan(nics={"eth0": nic})).settings

    assert (settings.forwarding, settings.rp_filter) == (True, 1)


def test_what_the_nic_has_is_leased_before_it_is_moved() -> None:
    plan = on_lan()

    (lease,) = (lease for lease in plan.claims if lease.kind == "inside")
    (kept,) = Fabric.from_json(lease.value, (Uplink,)).values()
    assert kept.original == ETH0.original


def test_the_hosts_own_address_is_no_nodes() -> None:
    assert addresses(on_lan(), "web") == ["eth0 192.0.2.2/24"]
    assert "this host, on eth0" in refusal(nodes="web: {networks: {lan: {ip: 192.0.2.1}}}")


def test_the_plan_is_the_same_once_the_way_out_is_the_bridge() -> None:
    networks, nodes = f"{LAN}, back: {{}}", "web: {networks: [lan]}, db: {networks: [back]}"
    lan = (Reservation(ip_network("192.0.2.0/24"), "routed via eth0 on this host"),)

    before = on_lan(
        networks, nodes, uplinks=("eth0",), reservations=lan, sysctls={"net/ipv4/conf/eth0/forwarding": "0"}
    )
    moved = {"eth0": ETH0._replace(moved=True)}
    after = on_lan(
        networks, nodes, uplinks=("br-lan",), nics=moved, sysctls={"net/ipv4/conf/br-lan/forwarding": "1"}
    )

    assert after.fabric == before.fabric
    assert of_kind(after, Borrowed) == []
    assert bridge_of(after).settings.forwarding


def test_nothing_is_planned_where_the_nic_leads_once_it_is_moved() -> None:
    plan = on_lan(
        "lan: {uplink: eth0, subnet: none}, back: {}",
        "web: {networks: [back]}",
        nics={"eth0": ETH0._replace(moved=True, original=ten())},
    )

    assert subnets(plan)["back"] == "10.0.1.0/24"


def ten() -> Original:
    packed = ((1, "0a000005"), (2, "0a000005"), (8, "80000000"))
    return ETH0.original._replace(addresses=(KeptAddress((2, 24, 0, 0), packed),))


def test_a_node_goes_out_by_the_lans_router() -> None:
    assert routes(on_lan(), "web") == ["default via 192.0.2.254 dev eth0"]


def test_machines_with_the_same_file_have_nodes_of_different_macs() -> None:
    here, there = (on_lan(machine=machine).layout.nics["web"][0].mac for machine in ("m1", "m2"))

    assert here != there


def test_the_nic_is_a_port_like_any_other_unless_the_gateway_is_behind_it() -> None:
    beside = on_lan("lan: {uplink: eth0, isolated: true, subnet: 10.9.0.0/24}")
    behind = on_lan(LAN.replace("uplink", "isolated: true, uplink"))

    assert [port.isolated for port in (*of_kind(beside, Uplink), *of_kind(behind, Uplink))] == [True, False]


def test_a_bridge_keeps_the_mac_of_the_nic_that_it_had() -> None:
    claims = on_lan().claims

    assert bridge_of(on_lan("lan: {subnet: 192.0.2.0/24}", leases=claims)).mac == "00:16:3e:00:00:07"


def test_a_leased_address_is_told_of() -> None:
    original = ETH0.original._replace(addresses=(LEASED,))

    (told,) = on_lan(nics={"eth0": ETH0._replace(original=original)}).warnings
    assert told.startswith("192.0.2.1 of eth0 is leased: its DHCP client")


REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "Open vSwitch": (
        {
            "networks": LAN.replace("uplink", "external: true, spoof: allow, bridge: sw1, uplink"),
            "links": frozenset({"sw1"}),
            "openvswitch": OpenVSwitch("system", {"sw1": "system"}),
        },
        "sw1 is a bridge of Open vSwitch, to which netfab lends no NIC yet",
    ),
    "unknown": ({"nics": {}}, "this host has no NIC eth0"),
    "barred": ({"nics": {}, "barred": {"eth0": "a bridge"}}, "eth0 can't be an uplink: it is a bridge"),
    "a port": ({"nics": {"eth0": ETH0._replace(master="bond0")}}, "eth0 is a port of bond0"),
    "wireless": ({"nics": {"eth0": ETH0._replace(wireless=True)}}, "eth0 is wireless"),
    "no Ethernet": ({"nics": {"eth0": ETH0._replace(hardware=32)}}, "eth0 is not Ethernet"),
    "a macvlan on it": (
        {"nics": {"eth0": ETH0._replace(stacked=(Stacked("mv0", "macvlan", ""),))}},
        "eth0 has the macvlan mv0 on it",
    ),
    "a loop": (
        {
            "networks": LAN.replace("uplink", "bridge: br0, uplink"),
            "nics": {"eth0": ETH0._replace(stacked=(Stacked("eth0.7", "vlan", "br0"),))},
        },
        "eth0.7, which is on eth0, is a port of br0: that is a loop",
    ),
    "a greater MTU": (
        {"networks": LAN.replace("uplink", "mtu: 1500, uplink")},
        "an MTU of 1500 is more than eth0 has, 1400",
    ),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_what_can_not_be_an_uplink_is_refused_by_name_and_place(what: str) -> None:
    given, told = REFUSALS[what]
    said = refusal(**given)

    assert told in said
    assert said.startswith("lab.yaml:2:")


def test_a_vlan_of_a_nic_is_lent_where_it_is_there_and_else_is_told_how_to_make() -> None:
    text = LAN.replace("eth0", "eth0.30")

    (lent,) = of_kind(on_lan(text, nics={"eth0": ETH0, "eth0.30": ETH0}), Uplink)
    with pytest.raises(NetfabError, match=r"this host has no NIC eth0\.30") as caught:
        on_lan(text)

    assert lent.nic == "eth0.30"
    assert caught.value.hint == "`ip link add link eth0 name eth0.30 type vlan id 30` makes that VLAN of eth0"


def test_a_nic_is_one_networks_only() -> None:
    with pytest.raises(Several, match="eth0 can't be an uplink and be used elsewhere, too"):
        on_lan(f"{LAN}, other: {{uplink: eth0}}")
