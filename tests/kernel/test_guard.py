"""What a port may send, by frames on the wire."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from pyroute2 import IPRoute
from small_lab import FABRIC, Lab, Wire, arp, ethernet, icmpv6, tagged, udp
from test_overlay import passes_frames, wait_until

from netfab.hosts.local import LocalHost
from netfab.kernel import nft
from netfab.objects.address import link_local
from netfab.objects.firewall import dropped
from netfab.plan.guard import GUARDED


@pytest.fixture
def lab(host: LocalHost) -> Lab:
    return Lab(host)


MAC, OTHER_MAC = "02:00:00:00:01:00", "02:00:00:00:01:01"  # of the first node, and of the second
OWN, OTHER, BEHIND = "10.0.1.2", "10.0.1.3", "10.9.0.7"
OWN6, OTHER6, BEHIND6 = "fd00:0:0:1::2", "fd00:0:0:1::3", "fd00:0:0:9::7"
GATEWAY_LOCAL, OWN_LOCAL, OTHER_LOCAL = (
    str(link_local(mac)) for mac in ("02:00:00:00:00:00", MAC, OTHER_MAC)
)
SPOOFED = {
    "MAC": udp(OTHER_MAC, OWN),
    "IPv4 address": udp(MAC, OTHER),
    "IPv6 address": udp(MAC, OTHER6),
    "ARP address": arp(MAC, OTHER),
    "ARP MAC": arp(OTHER_MAC, OWN, ether=MAC),
    "source behind no router": udp(MAC, BEHIND),
    "IPv6 source behind no router": udp(MAC, BEHIND6),
    "DHCP answer": udp(MAC, OWN, port=68),
    "DHCPv6 answer": udp(MAC, OWN6, port=546),
    "router advertisement": icmpv6(MAC, "fe80::2", 134),
    "redirect": icmpv6(MAC, "fe80::2", 137),
    "neighbour's advertisement": icmpv6(MAC, OWN6, 136, OTHER6),
    "gateway's advertisement": icmpv6(MAC, OWN6, 136, "fd00:0:0:1::1"),
    "gateway's link-local advertisement": icmpv6(MAC, OWN6, 136, GATEWAY_LOCAL),
    "neighbour's link-local advertisement": icmpv6(MAC, OWN6, 136, OTHER_LOCAL),
    "advertisement of nothing": icmpv6(MAC, OWN6, 136),
    "gateway's link-local address": udp(MAC, GATEWAY_LOCAL),
    "neighbour's link-local solicitation": icmpv6(MAC, OTHER_LOCAL, 135, OWN6),
    "neighbour's solicitation": icmpv6(MAC, OTHER6, 135, OWN6),
    "spanning tree": ethernet(MAC, 38, b"\x42\x42\x03".ljust(38, b"\0"), "01:80:c2:00:00:00"),
    "Cisco's spanning tree": ethernet(MAC, 50, b"\xaa\xaa\x03".ljust(50, b"\0"), "01:00:0c:cc:cc:cd"),
}
HONEST = {
    "IPv4": udp(MAC, OWN),
    "IPv6": udp(MAC, OWN6),
    "ARP": arp(MAC, OWN),
    "ARP probe": arp(MAC, "0.0.0.0"),
    "DHCP question": udp(MAC, "0.0.0.0", port=67),
    "link-local": udp(MAC, "fe80::2"),
    "link-local that it was given": udp(MAC, OWN_LOCAL),
    "duplicate detection": icmpv6(MAC, "::", 135, OWN6),
    "advertisement": icmpv6(MAC, OWN6, 136, OWN6),
    "link-local advertisement": icmpv6(MAC, OWN6, 136, OWN_LOCAL),
    "advertisement of a link-local address of its own making": icmpv6(MAC, "fe80::2", 136, "fe80::2"),
    "router solicitation": icmpv6(MAC, "fe80::2", 133),
    "another protocol": ethernet(MAC, 0x88CC, b"lldp"),
}
LAST = ethernet(MAC, 0x88B5, b"last")  # a local experiment, IEEE 802


def neighbours(lab: Lab, **port: Any) -> tuple[Wire, Wire]:
    """Two nodes on a bridge, and their cables; `port` changes what the first may send."""
    lab.network("br-a", "10.0.1.1/24", "fd00:0:0:1::1/64")
    lab.node("a", "br-a", f"{OWN}/24", f"{OWN6}/64", f"{OWN_LOCAL}/64", **port)
    lab.node("a2", "br-a", f"{OTHER}/24", f"{OTHER6}/64", f"{OTHER_LOCAL}/64")
    lab.apply()
    return Wire("a"), Wire("a2")


def arriving(lab: Lab, frames: dict[str, bytes], **port: Any) -> list[str]:
    """Which of the frames the neighbour gets."""
    sender, receiver = neighbours(lab, **port)
    got = receiver.received(sender, frames.values(), LAST)
    return [name for name, frame in frames.items() if frame in got]


def test_a_port_sends_nothing_in_the_name_of_others(lab: Lab) -> None:
    assert arriving(lab, SPOOFED) == []


def test_a_port_sends_all_that_is_its_own(lab: Lab) -> None:
    assert arriving(lab, HONEST) == list(HONEST)


@pytest.mark.parametrize("tags", [(0x8100,), (0x88A8,), (0x8100, 0x8100), (0x88A8, 0x8100)])
@pytest.mark.parametrize(
    ("guard", "what"),
    [
        ("all", "router advertisement"),
        ("mac", "router advertisement"),
        ("all", "gateway's advertisement"),
        ("all", "gateway's link-local address"),
    ],
)
def test_nothing_hides_behind_vlan_tags(lab: Lab, guard: str, what: str, tags: tuple[int, ...]) -> None:
    sender, receiver = neighbours(lab, guard=guard)

    smuggled = SPOOFED[what]

    sender.send(tagged(smuggled, *tags))
    sender.send(LAST)

    # The kernels at both ends of the bridge may announce their multicast groups at any time.
    assert [frame for frame in receiver.until(LAST) if frame.endswith(smuggled[14:])] == []


def test_the_host_itself_gets_no_spoofed_frame(lab: Lab) -> None:
    sender, _ = neighbours(lab)

    assert Wire("host", "br-a").received(sender, SPOOFED.values(), LAST) == []


def test_what_is_allowed_to_a_port_passes(lab: Lab) -> None:
    allowed = {
        name: SPOOFED[name] for name in ("MAC", "IPv4 address", "IPv6 address", "ARP address", "ARP MAC")
    }
    addresses = tuple(map(ip_address, (OWN, OWN6, OTHER, OTHER6)))

    assert arriving(lab, allowed, macs=(MAC, OTHER_MAC), addresses=addresses) == list(allowed)


def test_without_ipv6_every_link_local_address_is_anybodys(lab: Lab) -> None:
    frames = {
        "source": udp(MAC, OTHER_LOCAL),
        "advertisement": icmpv6(MAC, OTHER_LOCAL, 136, OTHER_LOCAL),
        "of another address": icmpv6(MAC, OTHER_LOCAL, 136, OTHER6),
    }

    assert arriving(lab, frames, addresses=(ip_address(OWN),)) == ["source", "advertisement"]


@pytest.mark.parametrize("routed", [("10.9.0.0/16", "fd00:0:0:9::/64"), ("0.0.0.0/0", "::/0", "10.9.0.0/16")])
def test_a_router_passes_on_what_lies_behind_it_and_claims_none_of_it(
    lab: Lab, routed: tuple[str, ...]
) -> None:
    behind = [name for name in SPOOFED if "behind" in name]
    frames = {name: SPOOFED[name] for name in behind} | {"claim": arp(MAC, BEHIND)}

    assert arriving(lab, frames, routed=tuple(map(ip_network, routed))) == behind


def test_where_we_give_no_addresses_only_macs_are_checked_and_servers_stopped(lab: Lab) -> None:
    passing = ["IPv4 address", "IPv6 address", "ARP address", "ARP MAC"]
    passing += ["source behind no router", "IPv6 source behind no router"]
    passing += [
        name for name in SPOOFED if "advertisement of" in name or ("'s " in name and "tree" not in name)
    ]

    assert arriving(lab, SPOOFED, addresses=(), guard="mac") == passing


def test_a_port_that_may_spoof_sends_everything(lab: Lab) -> None:
    assert arriving(lab, SPOOFED, guard="none") == list(SPOOFED)


def test_drops_are_counted_by_port(lab: Lab) -> None:
    arriving(lab, SPOOFED)

    assert dropped(nft.Listing(FABRIC).tables(), GUARDED) == {"nfa": len(SPOOFED), "nfa2": 0}


def test_a_port_of_ours_that_is_not_named_is_mute(lab: Lab) -> None:
    sender, other = neighbours(lab)
    lab.ports.pop(0)
    lab.apply()

    assert Wire("host", "br-a").received(sender, HONEST.values(), arp(OTHER_MAC, OTHER), witness=other) == []


def test_foreign_bridges_are_not_looked_at(lab: Lab) -> None:
    neighbours(lab)
    with IPRoute() as route:
        route.link("add", ifname="br-x", kind="bridge", br_forward_delay=0, state="up")
        (bridge,) = route.link_lookup(ifname="br-x")
        for name in ("x", "y"):
            route.link("add", ifname=name, kind="veth", peer=f"{name}-far")
            for end, master in ((name, bridge), (f"{name}-far", 0)):
                (index,) = route.link_lookup(ifname=end)
                route.link("set", index=index, master=master, state="up")
    wait_until(lambda: passes_frames("x") and passes_frames("y"))

    got = Wire("host", "y-far").received(Wire("host", "x-far"), SPOOFED.values(), LAST)

    assert got == list(SPOOFED.values())


def test_a_new_node_leaves_the_table_standing_and_counters_go_on(lab: Lab) -> None:
    arriving(lab, SPOOFED)
    lab.node("a3", "br-a", "10.0.1.4/24", "fd00:0:0:1::4/64")

    lab.apply()

    assert dropped(nft.Listing(FABRIC).tables(), GUARDED)["nfa"] == len(SPOOFED)


def test_a_new_node_advertises_what_is_its_own_by_now(lab: Lab) -> None:
    _, receiver = neighbours(lab)
    lab.node("a3", "br-a", "10.0.1.4/24", "fd00:0:0:1::4/64")
    lab.apply()
    frames = [icmpv6(lab.mac("a3"), "fd00:0:0:1::4", 136, target) for target in ("fd00:0:0:1::4", OWN6)]

    assert receiver.received(Wire("a3"), frames, arp(lab.mac("a3"), "10.0.1.4")) == frames[:1]
