"""Who reaches whom through the firewall, by real packets."""

from __future__ import annotations

import os
import socket
import struct

import pytest
from pyroute2 import IPRoute
from scapy.layers.inet import IP
from scapy.layers.sctp import SCTP, SCTPChunkInit, SCTPChunkInitAck
from small_lab import (
    OUTSIDE,
    OUTSIDE6,
    PATIENCE,
    UPLINK,
    UPLINK6,
    Lab,
    Wire,
    counters,
    foreign,
    inside,
    packet,
    serving,
    udp,
)

from netfab.hosts.local import LocalHost
from netfab.objects.link import group_of


@pytest.fixture
def lab(host: LocalHost) -> Lab:
    return Lab(host)


@pytest.fixture
def two_networks(lab: Lab) -> Lab:
    lab.two_networks()
    return lab


def raw_sctp(node: str) -> socket.socket:
    """All SCTP that arrives there, with its IP header: needs no kernel that speaks it."""
    with inside(node):
        made = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_SCTP)
    made.settimeout(60)
    return made


# Where br_netfilter is loaded, frames that are only bridged pass the IP hooks, too.
BRIDGED_CALLS = "/proc/sys/net/bridge/bridge-nf-call-ip{}tables"
CALLS = ("0", "1") if os.path.exists(BRIDGED_CALLS.format("")) else ("0",)


def bridged_frames_pass_ip_hooks(value: str) -> None:
    for path in map(BRIDGED_CALLS.format, ("", "6")):
        if os.path.exists(path):
            with open(path, "w") as file:
                file.write(value)


def test_a_node_reaches_outside_under_the_hosts_address(two_networks: Lab) -> None:
    two_networks.apply()

    with serving("internet"):
        assert two_networks.connect("a", OUTSIDE) == UPLINK


def test_an_address_that_is_only_local_leaves_by_nat66(two_networks: Lab) -> None:
    two_networks.apply()

    with serving("internet"):
        assert two_networks.connect("a", OUTSIDE6) == UPLINK6


def test_a_global_address_leaves_as_it_is(lab: Lab) -> None:
    lab.network("br-a", "2001:db8:1::1/64")
    lab.node("a", "br-a", "2001:db8:1::2/64")
    lab.outside()
    lab.apply()

    with serving("internet"):
        assert lab.connect("a", OUTSIDE6) == "2001:db8:1::2"


def test_nobody_outside_reaches_a_node_that_publishes_nothing(two_networks: Lab) -> None:
    two_networks.apply()

    with serving("a"):
        assert two_networks.is_stopped("internet", "10.0.1.2")
        assert two_networks.connect("host", "10.0.1.2") == "10.0.1.1"


def test_networks_don_t_reach_each_other(two_networks: Lab) -> None:
    two_networks.apply()

    with serving("b"):
        assert two_networks.is_stopped("a", "10.0.2.2")


def test_a_network_without_masquerade_is_reached_from_outside_and_leaves_as_it_is(lab: Lab) -> None:
    lab.network("br-a", "10.0.1.1/24", masquerade=False)
    lab.node("a", "br-a", "10.0.1.2/24")
    lab.outside()
    lab.apply()

    with serving("a"), serving("internet"):
        assert lab.connect("internet", "10.0.1.2") == OUTSIDE
        assert lab.connect("a", OUTSIDE) == "10.0.1.2"


def test_a_network_without_masquerade_is_not_reached_from_another_network(lab: Lab) -> None:
    lab.network("br-a", "10.0.1.1/24", masquerade=False)
    lab.network("br-b", "10.0.2.1/24")
    lab.node("a", "br-a", "10.0.1.2/24")
    lab.node("b", "br-b", "10.0.2.2/24")
    lab.apply()

    with serving("a"):
        assert lab.is_stopped("b", "10.0.1.2")


def test_a_network_without_masquerade_is_not_reached_from_another_fabric(lab: Lab) -> None:
    lab.network("br-a", "10.0.1.1/24", masquerade=False)
    lab.node("a", "br-a", "10.0.1.2/24")
    lab.outside()
    with IPRoute() as route:
        (index,) = route.link_lookup(ifname="wan0")
        route.link("set", index=index, group=group_of("other"))
    lab.apply()

    with serving("a"):
        assert lab.is_stopped("internet", "10.0.1.2")


def test_a_bridge_of_ours_that_is_not_named_lets_nothing_out(two_networks: Lab) -> None:
    two_networks.areas.pop(0)
    two_networks.apply()

    with serving("internet"):
        assert two_networks.is_stopped("a", OUTSIDE)
        assert two_networks.connect("b", OUTSIDE) == UPLINK


def test_an_internal_network_has_no_way_out_and_none_in(lab: Lab) -> None:
    lab.network("br-a", "10.0.1.1/24", internal=True)
    lab.network("br-b", "10.0.2.1/24")
    lab.node("a", "br-a", "10.0.1.2/24")
    lab.node("b", "br-b", "10.0.2.2/24")
    lab.publish("br-b", "10.0.2.2", 8080)
    lab.outside()
    lab.apply()

    with serving("a"), serving("b"), serving("internet"):
        assert lab.is_stopped("a", OUTSIDE)
        assert lab.is_stopped("a", UPLINK, 8080)
        assert lab.is_stopped("internet", "10.0.1.2")
        assert lab.is_stopped("b", "10.0.1.2")
        assert lab.connect("host", "10.0.1.2") == "10.0.1.1"


def test_isolated_ports_don_t_reach_each_other_by_way_of_the_gateway(lab: Lab) -> None:
    lab.network("br-a", "10.0.1.1/24", isolated=True)
    lab.node("a", "br-a", "10.0.1.2/24")
    lab.node("a2", "br-a", "10.0.1.3/24")
    lab.apply()
    for node, other in (("a", "10.0.1.3/32"), ("a2", "10.0.1.2/32")):
        with inside(node), IPRoute() as route:
            route.route("add", dst=other, gateway="10.0.1.1")

    with serving("a2"), serving("host"):
        assert lab.is_stopped("a", "10.0.1.3")
        assert lab.connect("a", "10.0.1.1") == "10.0.1.2"


def test_nodes_of_a_network_reach_each_other_by_way_of_the_gateway(lab: Lab) -> None:
    lab.network("br-a", "10.0.1.1/24")
    lab.node("a", "br-a", "10.0.1.2/24")
    lab.node("a2", "br-a", "10.0.1.3/24")
    lab.apply()
    with inside("a"), IPRoute() as route:
        route.route("add", dst="10.0.1.3/32", gateway="10.0.1.1")

    with serving("a2"):
        assert lab.connect("a", "10.0.1.3") == "10.0.1.2"


PUBLISHED = [
    ("internet", UPLINK, OUTSIDE),
    ("host", UPLINK, UPLINK),
    ("host", "10.0.1.1", "10.0.1.1"),
    ("host", "127.0.0.1", "10.0.1.1"),
    ("b", UPLINK, "10.0.2.2"),
    ("b", "10.0.2.1", "10.0.2.2"),
    ("a2", UPLINK, "10.0.1.1"),
]


@pytest.mark.parametrize("calls", CALLS)
@pytest.mark.parametrize(("source", "address", "seen"), PUBLISHED)
def test_a_published_port_answers(
    two_networks: Lab, source: str, address: str, seen: str, calls: str
) -> None:
    bridged_frames_pass_ip_hooks(calls)
    two_networks.publish("br-a", "10.0.1.2", 8080)
    two_networks.apply()

    with serving("a"):
        assert two_networks.connect(source, address, 8080) == seen


@pytest.mark.parametrize("calls", CALLS)
@pytest.mark.parametrize(
    ("gateway", "address"), [("10.0.1.1", "10.0.1.2"), ("fd00:0:0:1::1", "fd00:0:0:1::2")]
)
def test_a_published_port_answers_the_node_that_serves_it(
    lab: Lab, gateway: str, address: str, calls: str
) -> None:
    bridged_frames_pass_ip_hooks(calls)
    lab.network("br-a", "10.0.1.1/24", "fd00:0:0:1::1/64")
    lab.node("a", "br-a", "10.0.1.2/24", "fd00:0:0:1::2/64", hairpin=calls == "1")
    lab.publish("br-a", address, 8080)
    lab.apply()

    with serving("a"):
        assert lab.connect("a", gateway, 8080) == gateway


def test_a_published_port_answers_over_ipv6(two_networks: Lab) -> None:
    two_networks.publish("br-a", "fd00:0:0:1::2", 8080)
    two_networks.apply()

    with serving("a"):
        assert two_networks.connect("internet", UPLINK6, 8080) == OUTSIDE6
        assert two_networks.connect("host", UPLINK6, 8080) == UPLINK6


def test_a_published_sctp_port_is_led_to_its_node_and_answers_from_there(two_networks: Lab) -> None:
    two_networks.publish("br-a", "10.0.1.2", 8080, protocol="sctp")
    two_networks.apply()
    with raw_sctp("internet") as client, raw_sctp("a") as server:
        client.sendto(bytes(SCTP(sport=5000, dport=8080) / SCTPChunkInit(init_tag=7)), (UPLINK, 0))
        asked = IP(server.recv(1500))
        answer = SCTP(sport=80, dport=asked[SCTP].sport, tag=7) / SCTPChunkInitAck(init_tag=8)
        server.sendto(bytes(answer), (asked.src, 0))

        answered = IP(client.recv(1500))

    assert (asked.dst, asked[SCTP].dport) == ("10.0.1.2", 80)
    assert (answered.src, answered[SCTP].sport, answered[SCTP].dport) == (UPLINK, 8080, 5000)


def test_who_asks_a_published_port_by_the_ipv6_loopback_is_refused_at_once(two_networks: Lab) -> None:
    two_networks.publish("br-a", "fd00:0:0:1::2", 8080)
    two_networks.apply()

    with serving("a"), pytest.raises(ConnectionRefusedError):
        socket.create_connection(("::1", 8080), timeout=PATIENCE)


def test_a_port_published_on_one_address_answers_on_no_other(two_networks: Lab) -> None:
    two_networks.publish("br-a", "10.0.1.2", 8080, host=UPLINK)
    two_networks.apply()

    with serving("a"):
        assert two_networks.connect("internet", UPLINK, 8080) == OUTSIDE
        assert two_networks.is_stopped("b", "10.0.2.1", 8080)


def test_a_port_published_on_loopback_answers_the_host_only(two_networks: Lab) -> None:
    two_networks.publish("br-a", "10.0.1.2", 8080, host="127.0.0.1")
    two_networks.apply()

    with serving("a"):
        assert two_networks.connect("host", "127.0.0.1", 8080) == "10.0.1.1"
        assert two_networks.is_stopped("internet", UPLINK, 8080)


def test_a_bridge_that_routes_loopback_lets_no_node_at_it(two_networks: Lab) -> None:
    two_networks.publish("br-a", "10.0.1.2", 8080, host="127.0.0.1")
    two_networks.apply()
    mac, guest, bridge = two_networks.mac("a"), Wire("a"), Wire("host", "br-a")
    to_loopback = packet(
        mac, "10.0.1.2", 17, struct.pack("!HHHH", 9, 9, 8, 0), ("02:00:00:00:00:00", "127.0.0.1")
    )

    bridge.received(guest, [to_loopback], last=udp(mac, "10.0.1.2"))

    assert counters("inet", "raw") == [1, 0]


def test_an_uplink_that_we_opened_forwards_nothing_between_foreign_interfaces(two_networks: Lab) -> None:
    foreign("tunnel", "tun0", ["172.31.0.1/24"], ["172.31.0.2/24"], ["203.0.113.0/24"])
    two_networks.uplinks.append("wan0")
    two_networks.outside_reaches("172.31.0.0/24")
    two_networks.apply()

    with serving("internet"), serving("tunnel"):
        assert two_networks.is_stopped("internet", "172.31.0.2")
        assert two_networks.connect("a", OUTSIDE) == UPLINK


def test_what_the_host_forwarded_before_goes_on(two_networks: Lab) -> None:
    foreign("tunnel", "tun0", ["172.31.0.1/24"], ["172.31.0.2/24"], ["203.0.113.0/24"])
    two_networks.outside_reaches("172.31.0.0/24")
    two_networks.apply()

    with serving("tunnel"):
        assert two_networks.connect("internet", "172.31.0.2") == OUTSIDE
