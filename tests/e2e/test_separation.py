"""What may reach what, with real packets, and that netfab opens nothing foreign."""

from __future__ import annotations

import socket

import pytest
from lab import Lab
from machine import differences
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from traffic import PATIENCE, answer, dropped, serving, serving_everywhere, within

ETH_P_IP = 0x0800  # linux/if_ether.h
TWO = """\
name: two
networks: {one: {subnet: 10.1.0.0/24}, other: {subnet: 10.2.0.0/24}}
nodes:
  a: {networks: {one: {ip: 10.1.0.10}}}
  b: {networks: {other: {ip: 10.2.0.10}}}
"""
ONE = """\
name: one
networks: {lan: {subnet: 10.1.0.0/24%s}}
nodes:
  a: {networks: {lan: {ip: 10.1.0.10}}}
  b: {networks: {lan: {ip: 10.1.0.11}}}
"""


def test_two_networks_of_the_host_are_not_joined_by_it(lab: Lab) -> None:
    lab.write(TWO)
    lab.netfab("apply")

    with serving(lab, "two.b"):
        assert answer(lab, "", "10.2.0.10") is not None
        assert dropped(lab, "two.a", "10.2.0.10")


def test_a_router_joins_them(lab: Lab) -> None:
    lab.write(TWO + "  r: {forward: true, networks: {one: {ip: 10.1.0.9}, other: {ip: 10.2.0.9}}}\n")
    lab.netfab("apply")

    with serving(lab, "two.b"):
        assert answer(lab, "two.a", "10.2.0.10") == "10.1.0.10"


def test_networks_of_two_fabrics_are_not_joined(lab: Lab) -> None:
    lab.outside()
    lab.write(ONE % "", "one.yaml")
    lab.write(
        "name: two\nnetworks: {net: {subnet: 10.7.0.0/24}}\nnodes: {c: {networks: {net: {ip: 10.7.0.5}}}}\n",
        "two.yaml",
    )
    lab.netfab("apply", "one.yaml")
    lab.netfab("apply", "two.yaml")

    with serving(lab, "two.c"):
        assert answer(lab, "", "10.7.0.5") is not None
        assert dropped(lab, "one.a", "10.7.0.5")


def test_what_leaves_is_masqueraded(lab: Lab) -> None:
    lab.outside()
    lab.write(ONE % "")
    lab.netfab("apply")

    with serving(lab, "internet"), serving(lab, "one.a"):
        assert answer(lab, "one.a", "192.0.2.2") == "192.0.2.1"
        assert dropped(lab, "internet", "10.1.0.10")


def test_a_network_without_masquerade_is_routed_both_ways(lab: Lab) -> None:
    lab.outside()
    lab.write(ONE % ", masquerade: false")
    lab.netfab("apply")

    with serving(lab, "internet"), serving(lab, "one.a"):
        assert answer(lab, "one.a", "192.0.2.2") == "10.1.0.10"
        assert answer(lab, "internet", "10.1.0.10") == "192.0.2.2"


def test_an_internal_network_has_no_way_out_but_the_host_reaches_it(lab: Lab) -> None:
    lab.outside()
    lab.write(ONE % ", internal: true")
    lab.netfab("apply")

    with serving(lab, "internet"), serving(lab, "one.a"):
        assert dropped(lab, "one.a", "192.0.2.2")
        assert answer(lab, "", "10.1.0.10") == "10.1.0.1"
        assert answer(lab, "one.b", "10.1.0.10") == "10.1.0.11"


def test_ports_of_an_isolated_network_reach_only_the_gateway(lab: Lab) -> None:
    lab.outside()
    lab.write(ONE % ", isolated: true")
    lab.netfab("apply")
    lab.shell("ip -n one.a route add 10.1.0.11/32 via 10.1.0.1")

    with serving(lab), serving(lab, "one.b", 81), serving(lab, "internet", 82):
        assert answer(lab, "one.a", "10.1.0.1") == "10.1.0.10"
        assert answer(lab, "one.a", "192.0.2.2", 82) is not None
        assert dropped(lab, "one.a", "10.1.0.11", 81)  # neither by the bridge nor by way of the gateway


def test_a_forged_source_is_dropped_on_the_wire(lab: Lab) -> None:
    lab.write(ONE % "")
    lab.netfab("apply")
    nodes = lab.netfab("status", "-o", "json").json["nodes"]
    a, b = (nodes[name]["interfaces"][0]["mac"] for name in ("a", "b"))
    frames = [frame(a, b, "10.1.0.99"), frame("02:00:00:00:00:99", b, "10.1.0.10"), frame(a, b, "10.1.0.10")]

    arrived = lab.call(lambda: sent_and_heard("one.a", "one.b", frames))

    assert arrived == frames[-1:]  # the last is the honest one: when it has come, nothing else will


@pytest.mark.parametrize("vip", ["10.1.0.100", "fd00:5::100"])
def test_an_address_that_two_ports_are_allowed_is_reached_at_whichever_has_it(lab: Lab, vip: str) -> None:
    allowed = f"allow: ['{vip}']"
    lab.write(
        "name: one\nnetworks: {lan: {subnet: [10.1.0.0/24, 'fd00:5::/64']}}\n"
        f"nodes: {{a: {{networks: {{lan: {{{allowed}}}}}}}, b: {{networks: {{lan: {{{allowed}}}}}}}, "
        "c: {networks: [lan]}}\n"
    )
    lab.netfab("apply")

    for node, other in (("a", "b"), ("b", "a")):
        lab.shell(
            f"ip -n one.{other} address delete {vip} dev eth0 2>/dev/null || true;"
            f"ip -n one.{node} address add {vip} dev eth0 {'nodad' if ':' in vip else ''};"
            "ip -n one.c neighbour flush dev eth0"
        )
        with serving(lab, f"one.{node}"):
            assert answer(lab, "one.c", vip) is not None


def frame(mac: str, to: str, source: str) -> bytes:
    packet = (
        Ether(src=mac, dst=to)
        / IP(src=source, dst="10.1.0.11")
        / UDP(sport=9, dport=9)
        / b"20 bytes of payload."
    )
    return bytes(packet)


def sent_and_heard(sender: str, receiver: str, frames: list[bytes]) -> list[bytes]:
    """Those of the frames that come out of the receiver's cable, up to the last, which must."""

    def cable() -> socket.socket:
        found = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IP))
        found.bind(("eth0", 0))
        found.settimeout(PATIENCE)
        return found

    inward, outward = within(receiver, cable), within(sender, cable)
    for one in frames:
        outward.send(one)
    heard = []
    while frames[-1] not in heard:
        heard.append(inward.recv(2000))
    return [one for one in heard if one in frames]


@pytest.fixture
def crossroads(lab: Lab) -> Lab:
    """A host with two foreign neighbours that route to each other through it, which it does not forward."""
    lab.outside()
    lab.shell("""
        ip netns add office
        ip link add tun0 type veth peer name eth0 netns office
        ip link set tun0 addrgenmode none up
        ip address add 198.51.100.1/24 dev tun0
        ip -n office link set lo up
        ip -n office link set eth0 addrgenmode none up
        ip -n office address add 198.51.100.2/24 dev eth0
        ip -n office route add default via 198.51.100.1
        ip -n internet route add 198.51.100.0/24 via 192.0.2.1
    """)
    return lab


def test_forwarding_for_nodes_opens_nothing_between_foreign_interfaces(crossroads: Lab) -> None:
    crossroads.write(ONE % "")
    crossroads.netfab("apply")

    with serving(crossroads, "internet"), serving(crossroads, "office"):
        assert answer(crossroads, "one.a", "192.0.2.2") is not None
        assert dropped(crossroads, "internet", "198.51.100.2")
        assert dropped(crossroads, "office", "192.0.2.2")


def test_what_the_host_forwarded_before_it_still_forwards(crossroads: Lab) -> None:
    crossroads.shell("sysctl -qw net.ipv4.ip_forward=1")
    crossroads.write(ONE % "")
    crossroads.netfab("apply")

    with serving(crossroads, "office"):
        assert answer(crossroads, "internet", "198.51.100.2") == "192.0.2.2"


@pytest.mark.parametrize("first", ["one", "two"])
def test_the_hosts_switches_are_back_when_the_last_of_two_fabrics_goes(lab: Lab, first: str) -> None:
    lab.outside()
    before = lab.state()
    lab.write(ONE % "", "one.yaml")
    lab.write("name: two\nnetworks: {net: {ipv6: true}}\nnodes: {c: {networks: [net]}}\n", "two.yaml")
    lab.netfab("apply", "one.yaml")
    lab.netfab("apply", "two.yaml")
    second = {"one": "two", "two": "one"}[first]

    lab.netfab("destroy", first)
    node = {"one": "one.a", "two": "two.c"}[second]
    with serving(lab, "internet"):
        assert answer(lab, node, "192.0.2.2") == "192.0.2.1"
    lab.netfab("destroy", second)

    assert differences(before, lab.state()) == []


def test_a_foreign_chain_that_drops_what_is_forwarded_is_named(lab: Lab) -> None:
    lab.outside()
    lab.shell(
        "nft add table inet guardian; "
        "nft 'add chain inet guardian last { type filter hook forward priority 0; policy drop; }'"
    )
    lab.write(ONE % "")
    before = lab.state()

    result = lab.netfab("apply", code=1)

    assert "guardian" in result.err
    assert "last" in result.err
    assert "hint:" in result.err
    assert differences(before, lab.state()) == []


def test_a_network_of_nodes_reaches_itself_without_the_host(lab: Lab) -> None:
    lab.write(
        "name: l2\nnetworks: {lan: {subnet: 10.3.0.0/24, gateway: none}}\nnodes: {n1..3: {networks: [lan]}}\n"
    )
    lab.netfab("apply")
    nodes = lab.netfab("status", "-o", "json").json["nodes"]

    with serving_everywhere(lab, [f"l2.{name}" for name in nodes]):
        for one in nodes:
            for other in nodes.values():
                assert answer(lab, f"l2.{one}", other["addresses"]["lan"][0]) is not None
