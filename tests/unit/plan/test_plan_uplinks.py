"""NICs of several hosts as ports of a network's bridges: a LAN between them, or behind one of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest
from test_placement import TWO, facts, of_kind, planned
from test_plan_uplink import ETH0

from netfab.errors import NetfabError
from netfab.objects.bridge import Bridge
from netfab.objects.kept import KeptAddress
from netfab.objects.uplink import Uplink
from netfab.objects.vxlan import Vxlan
from netfab.objects.vxlan_fdb import EVERYBODY, VxlanFdb
from netfab.plan.facts import Facts, FoundNic
from netfab.plan.leases import Lease
from netfab.plan.planner import Plan

NODES = "nodes: {n1..2: {networks: [lan], runs_on: [h1, h2]}}"
# 192.0.2.2/24, permanent: IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS.
ADDRESS = KeptAddress((2, 24, 0, 0), ((1, "c0000202"), (2, "c0000202"), (8, "80000000")))
LAN0 = ETH0._replace(original=ETH0.original._replace(addresses=(ADDRESS,)))
OTHER = ETH0.original._replace(mac="00:16:3e:00:00:08", mtu=1300, addresses=())
NICS: Mapping[str, Mapping[str, FoundNic]] = {
    "h1": {"lan0": LAN0, "eth0": ETH0},
    "h2": {"lan0": FoundNic(OTHER), "lan1": FoundNic(OTHER)},
}
BY_LAN = "vxlan: none, subnet: 192.0.2.0/24, gateway: {external: 192.0.2.254}"


def on_lan(spec: str, leases: Iterable[Lease] = (), nodes: str = NODES) -> Mapping[str, Plan]:
    given: dict[str, Facts] = {
        host: facts(f"198.51.100.{number}", nics=NICS[host]) for number, host in enumerate(NICS, 1)
    }
    text = TWO.replace("192.0.2.", "198.51.100.")
    return planned(f"{text}networks: {{lan: {{{spec}}}}}\n{nodes}", leases, given)


def bridge_of(plan: Plan) -> Bridge:
    (found,) = of_kind(plan, Bridge)
    return found


def test_each_host_lends_the_nic_that_is_named_for_it() -> None:
    plans = on_lan(f"uplink: {{h1: lan0, h2: lan1}}, {BY_LAN}")

    assert {host: [thing.nic for thing in of_kind(plan, Uplink)] for host, plan in plans.items()} == {
        "h1": ["lan0"],
        "h2": ["lan1"],
    }
    assert {host: bridge_of(plan).mac for host, plan in plans.items()} == {
        "h1": "00:16:3e:00:00:07",
        "h2": "00:16:3e:00:00:08",
    }


def test_one_that_is_named_for_none_is_that_of_every_host_of_the_network() -> None:
    plans = on_lan(f"uplink: lan0, {BY_LAN}")

    assert [thing.nic for plan in plans.values() for thing in of_kind(plan, Uplink)] == ["lan0", "lan0"]


def test_the_mtu_is_that_of_the_smallest_nic_on_every_host() -> None:
    plans = on_lan(f"uplink: {{h1: lan0, h2: lan1}}, {BY_LAN}")

    assert {bridge_of(plan).mtu for plan in plans.values()} == {1300}


def test_no_node_gets_an_address_that_a_host_has_behind_its_nic() -> None:
    plans = on_lan(f"uplink: {{h1: lan0, h2: lan1}}, {BY_LAN}")

    chosen = [str(nic.addresses[0].ip) for nics in plans["h1"].layout.nics.values() for nic in nics]
    assert chosen == ["192.0.2.3", "192.0.2.4"]


def test_a_bridge_keeps_the_mac_of_the_nic_that_it_had() -> None:
    before = on_lan(f"uplink: {{h1: lan0, h2: lan1}}, {BY_LAN}")

    after = on_lan("", before["h1"].layout.claims)

    assert bridge_of(after["h1"]).mac == "00:16:3e:00:00:07"


def test_a_network_is_on_the_hosts_whose_nics_it_has() -> None:
    nodes = "nodes: {n1: {networks: [lan], runs_on: h1}}"

    plans = on_lan(f"uplink: {{h1: lan0, h2: lan1}}, {BY_LAN}", nodes=nodes)

    assert [thing.nic for thing in of_kind(plans["h2"], Uplink)] == ["lan1"]


def test_with_a_nic_on_one_host_the_tunnels_learn_who_is_behind_it() -> None:
    plans = on_lan("uplink: {h1: lan0}, subnet: 192.0.2.0/24, gateway: {external: 192.0.2.254}")

    assert [thing.nic for plan in plans.values() for thing in of_kind(plan, Uplink)] == ["lan0"]
    assert all(thing.learning for plan in plans.values() for thing in of_kind(plan, Vxlan))
    assert {thing.mac for plan in plans.values() for thing in of_kind(plan, VxlanFdb)} == {EVERYBODY}
    assert {bridge_of(plan).mtu for plan in plans.values()} == {1400}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("uplink: lan0", "has a tunnel and an uplink on h1 and h2: frames would loop forever"),
        ("uplink: {h1: lan0}, vxlan: none", "`vxlan: none` keeps it on one host"),
        ("uplink: {h1: eth9}", "this host has no NIC eth9"),
        ("uplink: {h1: eth0}", "eth0 of h1 has 198.51.100.1, which its tunnels go by, and can't be a port"),
    ],
)
def test_what_can_not_be_is_refused(spec: str, message: str) -> None:
    with pytest.raises(NetfabError, match=message):
        on_lan(spec)
