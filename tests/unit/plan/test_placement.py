"""One topology, planned for each of its hosts: what they are told of each other, and what stays apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from ipaddress import ip_address, ip_network
from itertools import combinations
from random import Random
from typing import Any, TypeVar

import pytest
from planning import RUN, read

from netfab.engine.diff import diff
from netfab.errors import NetfabError
from netfab.objects.address import Address
from netfab.objects.base import HOST, Fabric, Name, node_space
from netfab.objects.bridge import Bridge
from netfab.objects.bridge_fdb import BridgeFdb
from netfab.objects.held import HeldPorts
from netfab.objects.neighbour import Neighbour
from netfab.objects.port import Port
from netfab.objects.route import Route
from netfab.objects.veth import Veth
from netfab.objects.vxlan import Vxlan
from netfab.objects.vxlan_fdb import EVERYBODY, VxlanFdb
from netfab.plan.facts import Device, Facts, OpenVSwitch
from netfab.plan.leases import Lease
from netfab.plan.names import bridge_mac
from netfab.plan.overlay import Told
from netfab.plan.part import part_of, within
from netfab.plan.placement import plan_hosts
from netfab.plan.planner import Plan
from netfab.plan.subnets import Reservation

Kind = TypeVar("Kind")
SPANNING = "networks: {lan: {%s}}\nnodes: {n1..2: {networks: [lan], runs_on: [h1, h2]}}"
TWO = "name: lab\nhosts: {h1: {address: 192.0.2.1}, h2: {address: 192.0.2.2}}\n"


def facts(address: str, mtu: int = 1500, **more: Any) -> Facts:
    return Facts(devices=(Device("eth0", mtu, (ip_address(address),)),), mtu=mtu, machine="m", **more)


def planned(
    text: str,
    leases: Iterable[Lease] = (),
    given: Mapping[str, Facts] | None = None,
    secret: bytes = b"",
) -> Mapping[str, Plan]:
    topology = read(text)
    known = {
        name: facts(str(host.address)) if host.address else Facts() for name, host in topology.hosts.items()
    }
    known |= given or {}
    return plan_hosts(topology, leases, known, dict.fromkeys(known, RUN), secret)


def test_what_hosts_are_told_of_another_is_computed_once_for_all_of_them() -> None:
    hosts = ", ".join(f"h{n}: {{address: 192.0.2.{n}}}" for n in (1, 2, 3))
    plans = planned(
        f"name: lab\nhosts: {{{hosts}}}\nnetworks: {{lan: {{}}}}\n"
        "nodes: {n1..3: {networks: [lan], runs_on: [h1, h2, h3], command: [sleep, inf]}}"
    )

    told = [
        {id(thing): thing for thing in of_kind(plans[host], VxlanFdb) if str(thing.peer) == "192.0.2.3"}
        for host in ("h1", "h2")
    ]
    assert told[0]
    assert told[0].keys() == told[1].keys()


def test_a_bridge_of_open_vswitch_on_one_of_the_hosts_keeps_no_port_to_its_addresses() -> None:
    switch, lan = OpenVSwitch("system", {"sw1": "system"}), "{external: true, bridge: sw1}"
    given = {"h2": facts("192.0.2.2", openvswitch=switch, links=frozenset({"sw1"}))}

    with pytest.raises(NetfabError, match="sw1 is a bridge of Open vSwitch, where netfab can't keep a port"):
        planned(f"{TWO}networks: {{lan: {lan}}}\nnodes: {{web: {{networks: [lan], runs_on: h2}}}}", (), given)


def of_kind(found: Plan, kind: type[Kind]) -> list[Kind]:
    return [thing for thing in found.fabric.values() if isinstance(thing, kind)]


def random_file(random: Random) -> str:
    """Networks with nodes anywhere, some of them routers."""
    hosts = [f"h{n}" for n in range(1, random.randint(2, 5))] + ["h9"]
    lines = ["name: lab", "hosts:"]
    lines += [f"  {host}: {{address: 192.0.2.{host[1:]}}}" for host in hosts]
    networks = [f"net{n}" for n in range(random.randint(1, 4))]
    lines.append("networks:")
    for network in networks:
        words = ["ipv6: true"] if random.random() < 0.3 else []
        words += [f"gateway: {random.choice(['host', 'r', 'none'])}"] if random.random() < 0.6 else []
        words += [f"hosts: [{random.choice(hosts)}]"] if random.random() < 0.3 else []
        lines.append(f"  {network}: {{{', '.join(words)}}}")
    lines += ["nodes:", f"  r: {{runs_on: {random.choice(hosts)}, forward: true}}"]
    for n in range(random.randint(1, 12)):
        joined = random.sample(networks, random.randint(1, len(networks)))
        lines.append(f"  n{n}: {{networks: [{', '.join(joined)}], runs_on: {random.choice(hosts)}}}")
    return "\n".join(lines)


@pytest.mark.parametrize("seed", range(60))
def test_every_host_knows_where_everybody_on_its_networks_is(seed: int) -> None:
    plans = planned(random_file(Random(seed)))

    for host, plan in plans.items():
        fdb = {(entry.link.text, entry.mac): str(entry.peer) for entry in of_kind(plan, VxlanFdb)}
        behind = {(entry.bridge.text, entry.mac) for entry in of_kind(plan, BridgeFdb)}
        known = {(one.link.text, one.address): one.mac for one in of_kind(plan, Neighbour)}
        for node, nics in plan.layout.nics.items():
            for nic in nics:
                segment = plan.layout.segments[nic.segment]
                there = plan.layout.runs_on[node]
                if there == host or not segment.here:
                    continue
                assert segment.tunnel is not None
                assert fdb[segment.tunnel.device, nic.mac] == f"192.0.2.{there[1:]}"
                assert (segment.bridge, nic.mac) in behind
                for interface in nic.addresses:
                    assert known[segment.bridge, interface.ip] == nic.mac


@pytest.mark.parametrize("seed", range(60))
def test_what_hosts_know_of_each_other_is_so(seed: int) -> None:
    plans = planned(random_file(Random(seed)))

    there = {
        f"192.0.2.{host[1:]}": {
            end.mac for veth in of_kind(plan, Veth) for end in veth.ends if end.link.space != HOST
        }
        | {bridge.mac for bridge in of_kind(plan, Bridge)}
        for host, plan in plans.items()
    }
    for plan in plans.values():
        for entry in of_kind(plan, VxlanFdb):
            assert entry.mac == EVERYBODY or entry.mac in there[str(entry.peer)]


@pytest.mark.parametrize("seed", range(60))
def test_nothing_is_given_out_twice(seed: int) -> None:
    plans = planned(random_file(Random(seed)))
    layout = next(iter(plans.values())).layout

    prefixes = [prefix for segment in layout.segments.values() for prefix in segment.prefixes]
    assert not any(a.version == b.version and a.overlaps(b) for a, b in combinations(prefixes, 2))
    vnis = [segment.tunnel.vni for segment in layout.segments.values() if segment.tunnel]
    assert len(vnis) == len(set(vnis))
    held = [
        (thing.address, plan.layout.host)
        for plan in plans.values()
        for thing in of_kind(plan, Address)
        if not thing.address.is_link_local
    ]
    addresses = [address for address, _ in held]
    assert len(addresses) == len(set(addresses))


@pytest.mark.parametrize("seed", range(60))
def test_planning_again_plans_the_same(seed: int) -> None:
    text = random_file(Random(seed))
    first = planned(text)
    leases = next(iter(first.values())).layout.claims

    again = planned(text, leases)

    assert {host: plan.fabric for host, plan in again.items()} == {
        host: plan.fabric for host, plan in first.items()
    }
    assert all(plan.layout.claims == leases for plan in again.values())


def ten(nodes: int) -> str:
    hosts = ", ".join(f"h{n}: {{address: 192.0.2.{n}}}" for n in range(1, 11))
    dealt = ", ".join(f"h{n}" for n in range(1, 11))
    return (
        f"name: lab\nhosts: {{{hosts}}}\nnetworks: {{lan: {{}}}}\n"
        f"nodes:\n  n1..{nodes}: {{networks: [lan], runs_on: [{dealt}]}}"
    )


def test_one_more_node_is_three_more_entries_on_each_other_host_and_nothing_else() -> None:
    before = planned(ten(20))
    after = planned(ten(21), next(iter(before.values())).layout.claims)

    for host in [f"h{n}" for n in range(2, 11)]:
        changes = [
            change
            for change in diff(after[host].fabric, before[host].fabric)
            if not str(change.object).startswith("file ")  # its name, for those who ask for it
        ]
        assert {type(change.after) for change in changes} == {VxlanFdb, BridgeFdb, Neighbour}
        assert [change.action for change in changes] == ["create"] * 3
        assert all(len(change.ops()) == 1 for change in changes)


def test_each_host_has_an_address_of_its_own_which_its_nodes_leave_by() -> None:
    plans = planned(TWO + SPANNING % "")
    own = {
        host: [str(thing.address) for thing in of_kind(plan, Address) if thing.link.space == HOST]
        for host, plan in plans.items()
    }
    ways = {
        host: [str(hop.via) for route in of_kind(plan, Route) for hop in route.hops]
        for host, plan in plans.items()
    }

    assert own == {"h1": ["10.0.0.1"], "h2": ["10.0.0.2"]}
    assert ways == {"h1": ["10.0.0.1"], "h2": ["10.0.0.2"]}


def test_a_written_gateway_is_the_first_hosts_and_leases_stay() -> None:
    text = TWO + "networks: {lan: {subnet: 10.9.0.0/24, gateway: 10.9.0.254, hosts: [%s]}}\n"
    first = planned(text % "h1, h2")
    leases = next(iter(first.values())).layout.claims

    def own(plans: Mapping[str, Plan]) -> list[str]:
        return [str(thing.address) for plan in plans.values() for thing in of_kind(plan, Address)]

    assert own(first) == ["10.9.0.254", "10.9.0.2"]
    assert own(planned(text % "h2", leases)) == ["10.9.0.254"]


def test_a_host_that_joins_takes_no_address_that_is_leased() -> None:
    text = TWO + "networks: {lan: {hosts: [%s]}}\nnodes: {n1..3: {networks: [lan], runs_on: h1}}"
    leases = planned(text % "h1")["h1"].layout.claims

    plans = planned(text % "h1, h2", leases)

    assert [str(a.address) for a in of_kind(plans["h2"], Address)] == ["10.0.0.5"]


def test_a_host_that_joins_takes_no_address_of_anothers_where_the_file_names_it_first() -> None:
    nodes = "networks: {lan: {hosts: [%s]}}\nnodes: {n1..3: {networks: [lan], runs_on: h2}}"
    leases = planned(TWO + nodes % "h2")["h2"].layout.claims

    plans = planned(TWO + nodes % "h1, h2", leases)

    own = {
        host: [str(thing.address) for thing in of_kind(plan, Address) if thing.link.space == HOST]
        for host, plan in plans.items()
    }
    assert own == {"h1": ["10.0.0.5"], "h2": ["10.0.0.1"]}


def test_a_network_of_one_host_is_only_there_and_has_no_tunnel() -> None:
    plans = planned(TWO + "networks: {lan: {}}\nnodes: {a: {networks: [lan], runs_on: h2}}")

    assert not plans["h1"].fabric
    assert of_kind(plans["h2"], Bridge)
    assert not of_kind(plans["h2"], Vxlan)


def test_planned_subnets_avoid_what_any_host_routes_and_the_hosts_themselves() -> None:
    text = (
        "name: lab\nhosts: {h1: {address: 10.0.1.1}, h2: {address: 10.0.1.2}}\n"
        "networks: {lan: {hosts: [h1, h2]}}"
    )
    taken = (Reservation(ip_network("10.0.0.0/24"), "routed via tun0 on this host"),)

    plans = planned(text, given={"h2": facts("10.0.1.2", reservations=taken)})

    assert str(plans["h1"].layout.segments["lan"].prefixes[0]) == "10.0.2.0/24"


@pytest.mark.parametrize(
    ("addresses", "mtu"), [(("192.0.2.1", "192.0.2.2"), 1350), (("2001:db8::1", "2001:db8::2"), 1330)]
)
def test_the_mtu_is_what_the_narrowest_host_leaves(addresses: tuple[str, str], mtu: int) -> None:
    one, two = addresses
    text = (
        f"name: lab\nhosts: {{h1: {{address: '{one}'}}, h2: {{address: '{two}'}}}}\n"
        "networks: {lan: {}}\nnodes: {n1..2: {networks: [lan], runs_on: [h1, h2]}}"
    )

    plans = planned(text, given={"h1": facts(one, 9000), "h2": facts(two, 1400)})

    for plan in plans.values():
        (tunnel,), (bridge,) = of_kind(plan, Vxlan), of_kind(plan, Bridge)
        ends = [end.mtu for veth in of_kind(plan, Veth) for end in veth.ends]
        assert {tunnel.end.mtu, bridge.mtu, *ends} == {mtu}


def test_a_tunnels_port_learns_nothing_and_its_bridge_answers_for_others() -> None:
    plans = planned(TWO + "networks: {lan: {hosts: [h1, h2]}}")
    (port,) = of_kind(plans["h1"], Port)

    assert (port.isolated, port.learning, port.neigh_suppress) == (True, False, True)
    assert not of_kind(plans["h1"], Vxlan)[0].learning


def test_an_address_that_may_move_is_announced_to_the_other_hosts() -> None:
    text = (
        TWO
        + "networks: {lan: {}}\nnodes: {n1..2: {networks: {lan: {allow: [10.0.0.99]}}, runs_on: [h1, h2]}}"
    )
    (port,) = [port for port in of_kind(planned(text)["h1"], Port) if port.link.text.startswith("vx")]

    assert not port.neigh_suppress


def test_where_macs_may_move_tunnels_learn_and_nobodys_place_is_written_down() -> None:
    text = TWO + "networks: {lan: {spoof: allow}}\nnodes: {n1..2: {networks: [lan], runs_on: [h1, h2]}}"
    plan = planned(text)["h1"]

    assert [entry.mac for entry in of_kind(plan, VxlanFdb)] == [EVERYBODY]
    assert not of_kind(plan, BridgeFdb)
    assert not of_kind(plan, Neighbour)
    assert all(thing.learning for thing in of_kind(plan, Port))


def test_a_router_on_another_host_is_the_way_to_what_is_behind_it() -> None:
    text = (
        TWO
        + """
networks: {front: {}, back: {gateway: r}}
nodes:
  a: {networks: [front], runs_on: h1}
  r: {networks: [front], runs_on: h2}
  b: {networks: [back], runs_on: h1}
"""
    )
    plans = planned(text)
    ways = {
        f"{host} {route.space}": str(route.hops[0])
        for host, plan in plans.items()
        for route in of_kind(plan, Route)
        if route.destination == ip_network("10.0.1.0/24") or route.space == node_space("lab", "b")
    }

    assert ways == {
        "h1 host": "via 10.0.0.4 dev br-front",
        "h1 node lab.a": "via 10.0.0.4 dev eth0",
        "h1 node lab.b": "via 10.0.1.1 dev eth0",
        "h2 host": "via 10.0.0.4 dev br-front",
    }


def test_a_port_is_published_by_the_host_that_runs_the_node() -> None:
    text = TWO + (
        "networks: {lan: {}}\n"
        "nodes: {n1..2: {networks: [lan], runs_on: [h1, h2], publish: ['8080:80'], command: [sleep, '9']}}"
    )
    plans = planned(text)

    for host, plan in plans.items():
        assert [lease.key for lease in plan.claims if lease.kind == "publish"] == ["tcp/*/8080"], host


def test_vnis_stay_and_others_tunnels_are_avoided() -> None:
    text = TWO + "networks: {a: {hosts: [h1, h2]}, b: {hosts: [h1, h2], vxlan: {vni: 1}}%s}"
    taken = facts("192.0.2.1", vnis=((2, "vx2's on this host"),))
    first = planned(text % "", given={"h1": taken})
    again = planned(
        (text % ", c: {hosts: [h1, h2]}").replace("{a: {", "{aa: {hosts: [h1, h2]}, a: {"),
        first["h1"].layout.claims,
    )

    def vnis(plans: Mapping[str, Plan]) -> dict[str, int]:
        segments = plans["h1"].layout.segments.items()
        return {name: segment.tunnel.vni for name, segment in segments if segment.tunnel}

    assert vnis(first) == {"a": 3, "b": 1}
    assert vnis(again) == {"aa": 2, "a": 3, "b": 1, "c": 4}


def test_a_network_that_is_on_one_host_for_a_while_keeps_its_vni() -> None:
    text = TWO + "networks: {a: {hosts: [%s]}, b: {hosts: [h1, h2]}}"
    first = planned(text % "h1, h2")["h1"].layout
    alone = planned(text % "h1", first.claims)["h1"].layout
    again = planned(text % "h1, h2", alone.claims)["h1"].layout

    assert alone.segments["a"].tunnel is None
    assert again.segments["a"].tunnel == first.segments["a"].tunnel


def test_a_leased_vni_that_somebody_else_has_now_is_an_error_and_no_other_vni() -> None:
    text = TWO + SPANNING % ""
    leases = planned(text)["h1"].layout.claims

    with pytest.raises(NetfabError, match="VNI 1, for network lan, is vx1's on h2"):
        planned(text, leases, {"h2": facts("192.0.2.2", vnis=((1, "vx1's on this host"),))})


def test_only_a_tunnel_needs_an_address() -> None:
    plans = planned(
        "name: lab\nhosts: {h1: {}, h2: {ssh: root@h2}}\nnetworks: {lan: {}}\nnodes: {a: {networks: [lan]}}"
    )

    assert Name("namespace", "lab.a") in plans["h1"].fabric


REFUSED = {
    TWO + "nodes: {a: {}}": "on which host does a run? It has no `runs_on`, and h1 and h2 have no `ssh`",
    TWO.replace("192.0.2.1}", "192.0.2.1, ssh: a}").replace("192.0.2.2}", "192.0.2.2, ssh: b}")
    + "nodes: {a: {}}": "on which host does a run? It has no `runs_on`, and every host has an `ssh`",
    TWO
    + "nodes: {a: {runs_on: h1}, b: {runs_on: h2}}\nlinks: [[a, b]]": "the link a b joins nodes on h1 and h2",
    TWO + "nodes: {a: {runs_on: h1}, b: {runs_on: h2, mode: 'container:a'}}": (
        "b runs on h2, and has the network of a on h1"
    ),
    TWO + "nodes: {a: {runs_on: h1}, b: {runs_on: h2, depends_on: [a]}}": "b on h2 can't wait for a on h1",
    TWO + SPANNING % "vxlan: none": "lan is on h1 and h2, and `vxlan: none` keeps it on one host",
    TWO + SPANNING % "external: true, bridge: br0": (
        "lan is on h1 and h2, and a tunnel is put on no bridge that is somebody else's"
    ),
    TWO + SPANNING % "isolated: true, gateway: none": (
        "lan is `isolated` and on h1 and h2: each host needs its gateway"
    ),
    TWO + SPANNING % "mtu: 1451": "an MTU of 1451 is more than 1450, which goes between the hosts of lan",
    TWO + "networks: {a: {bridge: br0, hosts: [h1, h2]}, b: {bridge: br0, hosts: [h1, h2]}}": (
        "the bridge br0 is a's, at lab.yaml:3:24"
    ),
    TWO + "networks: {lan: {}}\nnodes: {n1..3: {networks: [lan], runs_on: [h1, h2], publish: ['80:80']}}": (
        "port tcp/*/80 of h1 is published by n1 already"
    ),
    TWO.replace("192.0.2.2", "192.0.2.1") + SPANNING % "": (
        "192.0.2.1 of h2 is an address of h1, too: all would come to it twice"
    ),
    TWO.replace("192.0.2.2", "'2001:db8::2'")
    + SPANNING % "": "lan is on h1 at 192.0.2.1 and h2 at 2001:db8::2",
    TWO.replace("{address: 192.0.2.2}", "{ssh: x}") + SPANNING % "": (
        "h2 has networks in common with others, and no `address` to reach it at"
    ),
    TWO + "networks: {a: {hosts: [h1, h2], vxlan: {vni: 7}}, b: {hosts: [h1, h2], vxlan: {vni: 7}}}": (
        "VNI 7, for network b, is network a"
    ),
}


@pytest.mark.parametrize("text", REFUSED, ids=REFUSED.values())
def test_what_can_not_be_planned_over_hosts_is_refused_by_name(text: str) -> None:
    with pytest.raises(NetfabError) as caught:
        planned(text)

    assert caught.value.message == REFUSED[text]
    assert caught.value.at is not None


def test_a_host_without_its_address_is_told_what_it_has() -> None:
    with pytest.raises(NetfabError, match=r"h2 has no interface with 192\.0\.2\.2") as caught:
        planned(TWO + SPANNING % "", given={"h2": facts("198.51.100.7")})

    assert caught.value.hint == "its addresses are 198.51.100.7"


def test_an_interface_without_multicast_floods_nothing_by_it() -> None:
    alone = Facts(devices=(Device("wg0", 1500, (ip_address("192.0.2.2"),), multicast=False),))

    with pytest.raises(NetfabError, match="lan is flooded by multicast, which wg0 of h2 does not do"):
        planned(TWO + SPANNING % "vxlan: {control: multicast}", given={"h2": alone})


def test_all_networks_that_are_flooded_by_multicast_have_one_group_and_tell_nobody_where_who_is() -> None:
    network = "{hosts: [h1, h2], vxlan: {control: multicast}}"
    (plan, _) = planned(f"{TWO}networks: {{a: {network}, b: {network}}}").values()

    groups = {tunnel.multicast for tunnel in of_kind(plan, Vxlan)}
    assert len(groups) == 1
    assert {(entry.mac, entry.peer) for entry in of_kind(plan, VxlanFdb)} == {(EVERYBODY, *groups)}
    assert not of_kind(plan, Neighbour)
    ports = [port for port in of_kind(plan, Port) if port.link.text.startswith("vx")]
    assert {(port.learning, port.neigh_suppress) for port in ports} == {(True, False)}


def test_one_host_under_two_names_is_refused() -> None:
    twice = Facts(devices=(Device("eth0", 1500, (ip_address("192.0.2.1"), ip_address("192.0.2.2"))),))

    with pytest.raises(NetfabError, match="is an address of"):
        planned(TWO + SPANNING % "", given={"h1": twice})


def test_a_network_without_nodes_and_hosts_is_nowhere() -> None:
    assert not any(plan.fabric for plan in planned(TWO + "networks: {lan: {}}").values())


@pytest.mark.parametrize("seed", range(60))
def test_part_after_part_makes_on_every_host_what_all_of_them_make_at_once(seed: int) -> None:
    random = Random(seed)
    text = random_file(random)
    topology = read(text)
    names = random.sample(list(topology.nodes), len(topology.nodes))

    for whole in planned(text).values():
        parts = [part_of(topology, whole, [name]) for name in names]
        there = reduce(lambda there, each: within(each, there), parts, Fabric("lab"))

        assert there == within(part_of(topology, whole, names), Fabric("lab"))
        assert within(parts[0], whole.fabric) == whole.fabric


def test_a_part_tells_other_hosts_of_its_nodes_and_of_no_others() -> None:
    text = TWO + "networks: {lan: {}}\nnodes: {%s: {networks: [lan], runs_on: [h1, h2]}}"
    before = planned(text % "n1..2")
    after = planned(text % "n1..6", next(iter(before.values())).layout.claims)

    found = within(part_of(read(text % "n1..6"), after["h1"], ["n4"]), before["h1"].fabric)

    macs = {after["h1"].layout.nics[node][0].mac for node in ("n2", "n4")} | {EVERYBODY}
    new = [thing for thing in found.values() if isinstance(thing, VxlanFdb)]
    assert macs == {entry.mac for entry in new} - {bridge_mac("h2", "lab", "lan")}


@pytest.mark.parametrize("spoof", ["", "spoof: allow"])
def test_a_part_of_a_network_over_hosts_has_its_tunnel_and_keeps_strangers_out(spoof: str) -> None:
    nodes = f"{{n1..2: {{networks: {{lan: {{{spoof}}}}}, runs_on: [h1, h2]}}}}"
    text = f"{TWO}networks: {{lan: {{}}}}\nnodes: {nodes}"

    made = part_of(read(text), planned(text)["h1"], ["n2"]).fabric

    (tunnel,) = (thing for thing in made.values() if isinstance(thing, Vxlan))
    assert Name("port host", tunnel.end.link.text) in made
    put = within(part_of(read(text), planned(text)["h1"], ["n2"]), Fabric("lab"))
    peers = {held.name: held.elements for held in put[Name("firewall", "inet")].sets}["peers4"]
    assert peers == (("192.0.2.2",),)
    free = {held.name: held.elements for held in put[Name("firewall", "bridge")].sets}["free"]
    assert (tunnel.end.link.text,) in free


def test_a_node_that_moved_is_looked_for_on_its_new_host_only() -> None:
    text = TWO + (
        "networks: {lan: {}}\nnodes: {n1: {networks: [lan], runs_on: %s},"
        " n2..3: {networks: [lan], runs_on: [h1, h2]}}"
    )
    before = planned(text % "h1")
    moved = planned(text % "h2", next(iter(before.values())).layout.claims)

    there = {
        host: within(part_of(read(text % "h2"), plan, ["n1"]), before[host].fabric)
        for host, plan in moved.items()
    }

    mac = moved["h1"].layout.nics["n1"][0].mac
    assert [thing.peer for thing in there["h1"].values() if isinstance(thing, VxlanFdb) and thing.mac == mac]
    assert not [thing for thing in there["h2"].values() if isinstance(thing, Told) and thing.mac == mac]
    assert not [name for name in there["h1"] if "n1" in name.text and name.space == "namespace"]


def test_a_part_holds_no_ports_that_its_nodes_publish_elsewhere() -> None:
    text = TWO + (
        "networks: {lan: {}}\nnodes: {a: {networks: [lan], runs_on: h1, publish: ['80:80']},"
        " b: {networks: [lan], runs_on: h2, publish: ['81:81']}}"
    )

    found = within(part_of(read(text), planned(text)["h2"], ["a"]), Fabric("lab"))

    assert not [thing for thing in found.values() if isinstance(thing, HeldPorts)]
