"""`control: evpn`: who speaks BGP with whom, what of, and what can't be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any, TypeVar

import pytest
from planning import RUN, read

from netfab.errors import NetfabError
from netfab.objects.base import Fabric, Name
from netfab.objects.bgp import DAEMONS, Bgp
from netfab.objects.bgp_peer import BgpPeer
from netfab.objects.bridge_fdb import BridgeFdb
from netfab.objects.container import Container
from netfab.objects.neighbour import Neighbour
from netfab.objects.port import Port
from netfab.objects.supervisor import Supervisor
from netfab.objects.vxlan import Vxlan
from netfab.objects.vxlan_fdb import VxlanFdb
from netfab.plan.facts import Device, Facts, Frr
from netfab.plan.leases import Lease
from netfab.plan.part import part_of, within
from netfab.plan.placement import plan_hosts
from netfab.plan.planner import Plan

Kind = TypeVar("Kind")
BY_BGP = "vxlan: {control: evpn}"


def file(count: int, nodes: str = "", network: str = "{vxlan: {control: evpn}}", reflectors: str = "") -> str:
    hosts = ", ".join(
        f"h{n}: {{address: 192.0.2.{n}, reflector: {'true' if str(n) in reflectors else 'false'}}}"
        for n in range(1, count + 1)
    )
    dealt = ", ".join(f"h{n}" for n in range(1, count + 1))
    nodes = nodes or f"n1..{count}: {{networks: [lan], runs_on: [{dealt}]}}"
    return f"name: lab\nhosts: {{{hosts}}}\nnetworks: {{lan: {network}}}\nnodes: {{{nodes}}}"


def planned(text: str, leases: Iterable[Lease] = (), **more: Any) -> Mapping[str, Plan]:
    topology = read(text)
    known = {name: facts(str(host.address), **more) for name, host in topology.hosts.items()}
    return plan_hosts(topology, leases, known, dict.fromkeys(known, RUN))


def facts(address: str, **more: Any) -> Facts:
    there = {"frr": Frr("/usr/lib/frr", runs=False), **more}
    return Facts(devices=(Device("eth0", 1500, (ip_address(address),)),), **there)


def of_kind(found: Plan | Fabric, kind: type[Kind]) -> list[Kind]:
    fabric = found.fabric if isinstance(found, Plan) else found
    return [thing for thing in fabric.values() if isinstance(thing, kind)]


def peers_of(plan: Plan) -> list[str]:
    return [peer.address for peer in of_kind(plan, BgpPeer)]


def test_every_host_speaks_with_every_other_and_is_told_of_its_own_nodes_only() -> None:
    plan = planned(file(3))["h2"]

    assert peers_of(plan) == ["192.0.2.1", "192.0.2.3"]
    (nic,) = plan.layout.nics["n2"]
    assert [(entry.link.text, entry.mac) for entry in of_kind(plan, BridgeFdb)] == [(nic.host_link, nic.mac)]
    assert [(one.address, one.mac) for one in of_kind(plan, Neighbour)] == [(nic.addresses[0].ip, nic.mac)]
    assert not of_kind(plan, VxlanFdb)
    (tunnel,) = of_kind(plan, Vxlan)
    (port,) = (port for port in of_kind(plan, Port) if port.link == tunnel.end.link)
    assert (tunnel.learning, port.learning, port.neigh_suppress, port.isolated) == (False, False, True, True)
    assert of_kind(plan, Supervisor)


def test_a_new_node_changes_nothing_on_other_hosts() -> None:
    before = planned(file(3))
    nodes = "n1..3: {networks: [lan], runs_on: [h1, h2, h3]}, new: {networks: [lan], runs_on: h1}"
    after = planned(file(3, nodes), before["h1"].layout.claims)

    for kind in (BridgeFdb, Neighbour, VxlanFdb, Bgp, BgpPeer, Container, Vxlan):
        for host in ("h2", "h3"):
            assert of_kind(before[host], kind) == of_kind(after[host], kind)


def test_with_reflectors_the_others_speak_with_these_only_and_are_their_clients() -> None:
    plans = planned(file(4, reflectors="12"))

    assert peers_of(plans["h3"]) == peers_of(plans["h4"]) == ["192.0.2.1", "192.0.2.2"]
    assert peers_of(plans["h1"]) == ["192.0.2.2", "192.0.2.3", "192.0.2.4"]
    clients = {
        peer.address
        for peer in of_kind(plans["h1"], BgpPeer)
        if any(words[-1].endswith("route-reflector-client") for words in peer.statements)
    }
    assert clients == {"192.0.2.3", "192.0.2.4"}


def test_a_reflector_that_is_on_none_of_the_networks_passes_on_what_is_said_of_them() -> None:
    nodes = "n1..2: {networks: [lan], runs_on: [h1, h2]}"
    plans = planned(file(3, nodes, reflectors="3"))

    assert not of_kind(plans["h3"], Vxlan)
    assert peers_of(plans["h3"]) == ["192.0.2.1", "192.0.2.2"]
    assert tells_of(plans["h3"]) == tells_of(plans["h1"]) == ["rt 64512:1"]


def tells_of(plan: Plan) -> list[str]:
    (bgp,) = of_kind(plan, Bgp)
    return [words[0].partition("permit ")[2] for words in bgp.statements if "extcommunity-list" in words[0]]


def test_nobody_is_told_of_a_network_that_is_not_controlled_so() -> None:
    text = file(2) + "\n"
    text = text.replace("networks: {lan:", "networks: {other: {hosts: [h1, h2]}, lan:")

    plan = planned(text)["h1"]

    vnis = {segment.name: segment.tunnel.vni for segment in plan.layout.segments.values() if segment.tunnel}
    assert tells_of(plan) == [f"rt 64512:{vnis['lan']}"]
    assert {entry.link.text for entry in of_kind(plan, VxlanFdb)} == {f"vx{vnis['other']}"}


@pytest.mark.parametrize("words", ["spoof: allow", "allow: [10.0.0.250]"])
def test_where_an_address_or_a_mac_may_be_another_nodes_none_is_pinned(words: str) -> None:
    nodes = f"n1..2: {{networks: {{lan: {{{words}}}}}, runs_on: [h1, h2]}}"

    plan = planned(file(2, nodes))["h1"]

    assert not of_kind(plan, BridgeFdb)
    assert not of_kind(plan, Neighbour)
    assert not any(port.neigh_suppress for port in of_kind(plan, Port))


def test_a_network_on_one_host_speaks_with_nobody() -> None:
    plans = planned(file(2, "n1: {networks: [lan], runs_on: h1}"))

    assert not any(of_kind(plan, Bgp) or of_kind(plan, Container) for plan in plans.values())


REFUSED = {
    "FRR (zebra, bgpd) is not installed on host h1": {"frr": None},
    "FRR runs on host h1 already, and netfab does not share it": {"frr": Frr("/usr/lib/frr", runs=True)},
    "h1 is to speak BGP at port 179, which is fabric other's there": {
        "published": {"tcp/192.0.2.1/179": "other"}
    },
}


@pytest.mark.parametrize("message", REFUSED)
def test_a_host_that_can_not_speak_is_named(message: str) -> None:
    with pytest.raises(NetfabError) as caught:
        planned(file(2), **REFUSED[message])

    first = caught.value.errors[0] if hasattr(caught.value, "errors") else caught.value
    assert first.message == message
    assert first.at is not None
    assert first.hint


def test_hosts_at_ipv6_addresses_are_refused() -> None:
    text = file(2).replace("192.0.2.1", "'2001:db8::1'").replace("192.0.2.2", "'2001:db8::2'")

    with pytest.raises(NetfabError, match="h1 is at 2001:db8::1, and FRR's EVPN has tunnels over IPv4 only"):
        planned(text)


def test_a_reflector_without_an_address_is_refused() -> None:
    text = file(2).replace("hosts: {", "hosts: {r: {reflector: true}, ")
    topology = read(text)
    known = {name: facts(f"192.0.2.{name[1:]}") for name in topology.hosts if name != "r"}

    with pytest.raises(NetfabError, match="r is a reflector, and has no `address` to reach it at"):
        plan_hosts(topology, (), known, dict.fromkeys(known, RUN))


@pytest.mark.parametrize(("one", "other"), [("static", "evpn"), ("evpn", "multicast")])
def test_another_control_is_another_tunnel(one: str, other: str) -> None:
    network = "{vxlan: {control: %s}}"
    before = planned(file(2, network=network % one))["h1"]

    after = planned(file(2, network=network % other), before.layout.claims)["h1"]

    assert of_kind(before, Vxlan)[0].vni != of_kind(after, Vxlan)[0].vni
    again = planned(file(2, network=network % other), after.layout.claims)["h1"]
    assert of_kind(again, Vxlan) == of_kind(after, Vxlan)


def test_what_frr_wrote_does_not_become_static_while_it_is_there() -> None:
    before = planned(file(2))["h1"]

    with pytest.raises(NetfabError, match="lan is there by `control: evpn`, and can't become static"):
        planned(file(2, network="{}"), before.layout.claims)


def test_another_control_for_a_written_vni_is_refused() -> None:
    network = "{vxlan: {vni: 7, control: %s}}"
    before = planned(file(2, network=network % "static"))["h1"]

    with pytest.raises(NetfabError, match="VNI 7 of lan is that of its tunnel by another `control`"):
        planned(file(2, network=network % "evpn"), before.layout.claims)


def test_a_part_speaks_and_tells_of_its_own_nodes_only() -> None:
    nodes = "n1..4: {networks: [lan], runs_on: [h1, h2]}"
    plan = planned(file(2, nodes))["h1"]
    part = part_of(read(file(2, nodes)), plan, ["n1"])

    there = within(part, Fabric("lab"))

    assert {Name("container", DAEMONS), Name("bgp", "lab"), Name("bgp peer", "192.0.2.2")} <= there.keys()
    assert Name("supervisor", "lab") in there
    mac = plan.layout.nics["n1"][0].mac
    assert {entry.mac for entry in (*of_kind(there, BridgeFdb), *of_kind(there, Neighbour))} == {mac}
    assert within(part, plan.fabric) == plan.fabric
