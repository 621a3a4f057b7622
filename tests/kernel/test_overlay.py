"""Networks over simulated hosts: real tunnels, real frames, and what of them is on the wire between hosts."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from time import monotonic
from typing import Any

import pytest
from simulated_hosts import Hosts, fleet

from netfab import fabric
from netfab.engine.diff import diff, order
from netfab.hosts import simulated
from netfab.objects.base import Fabric
from netfab.objects.firewall import Firewall
from netfab.objects.neighbour import Neighbour
from netfab.objects.vxlan import Vxlan
from netfab.objects.vxlan_fdb import VxlanFdb
from netfab.plan.names import host_link
from netfab.plan.underlay import NAME

Begun = Callable[[str], Hosts]
PATIENCE = 60.0  # seconds for what has to come
AGAIN = 1.0  # seconds until an echo that was not answered is asked for again
ETH_P_ALL = 0x0003
IP_MTU_DISCOVER, IP_PMTUDISC_PROBE = 10, 3
ECHO = b"\x08\x00"
BY_MULTICAST = "{vxlan: {control: multicast}}"


@pytest.fixture
def begun() -> Iterator[Begun]:
    """The hosts of a file, begun and applied."""
    with ExitStack() as stack:

        def begin(text: str) -> Hosts:
            hosts = Hosts(text)
            stack.callback(hosts.close)
            return hosts

        yield begin


@contextmanager
def wire(host: str) -> Iterator[Callable[[], list[Any]]]:
    """All VXLAN that goes from and to a host by the underlay while this lasts."""
    from scapy.layers.l2 import Ether
    from scapy.layers.vxlan import VXLAN  # its import binds the port

    seen: list[Any] = []
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as packets:
        packets.bind((host_link(NAME, host, "eth0"), 0))
        packets.setblocking(False)

        def frames() -> list[Any]:
            while select.select([packets], [], [], 0)[0]:
                frame = Ether(packets.recv(65535))
                if VXLAN in frame:
                    seen.append(frame)
            return seen

        yield frames


def ping(hosts: Hosts, one: str, other: str, size: int = 56) -> bool:
    """Whether an echo request of that many bytes behind the ICMP header, never in fragments, is answered."""
    return ping_address(hosts, one, hosts.address(other), size)


def ping_address(hosts: Hosts, one: str, destination: str, size: int = 56) -> bool:
    """The same, of an address."""

    def ask() -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
            raw.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE)
            deadline, again = monotonic() + PATIENCE, 0.0
            while (now := monotonic()) < deadline:
                if now >= again:
                    raw.sendto(echo_request(size), (destination, 0))
                    again = now + AGAIN
                if select.select([raw], [], [], again - now)[0]:
                    answer, (sender, _) = raw.recvfrom(65535)
                    if sender == destination and answer[20] == 0:
                        return len(answer) == 28 + size
            return False

    return hosts.call(one, ask)


def echo_request(size: int) -> bytes:
    body = b"\0\1\0\1" + bytes(size)
    total = sum(
        int.from_bytes((ECHO + b"\0\0" + body)[at : at + 2].ljust(2, b"\0")) for at in range(0, size + 8, 2)
    )
    total = (total & 0xFFFF) + (total >> 16)
    return ECHO + (~total & 0xFFFF).to_bytes(2) + body


def send_arp(hosts: Hosts, node: str, wanted: str) -> None:
    """One request, by nobody who would ask again."""
    from scapy.layers.l2 import ARP, Ether

    nic = hosts.plan(node).layout.nics[node][0]
    frame = Ether(src=nic.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(
        hwsrc=nic.mac, psrc=str(nic.addresses[0].ip), pdst=wanted
    )

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as packets:
            packets.bind((nic.name, 0))
            packets.send(bytes(frame))

    hosts.call(node, send)


def vni(hosts: Hosts) -> int:
    tunnel = hosts.plan("n1").layout.segments["lan"].tunnel
    assert tunnel is not None
    return tunnel.vni


@pytest.mark.parametrize("count", [2, 3, 10])
def test_nodes_reach_each_other_from_every_host_to_every_other(begun: Begun, count: int) -> None:
    hosts = begun(fleet(count))

    for one in range(1, count + 1):
        for other in range(1, count + 1):
            assert one == other or ping(hosts, f"n{one}", f"n{other}"), (one, other)


def test_fifty_hosts_share_a_kernel_that_remembers_a_thousand_neighbours(begun: Begun) -> None:
    hosts = begun(fleet(50))  # whose tunnels are tried from each to each

    for one, other in ("n1", "n50"), ("n50", "n25"), ("n25", "n1"):
        assert ping(hosts, one, other)


@pytest.mark.parametrize("count", [3, 10])
def test_a_known_address_costs_nothing_on_the_underlay_but_its_packets(begun: Begun, count: int) -> None:
    from scapy.layers.inet import ICMP, IP
    from scapy.layers.l2 import ARP, Ether
    from scapy.layers.vxlan import VXLAN

    hosts = begun(fleet(count))

    with wire("h1") as frames:
        assert ping(hosts, "n1", "n2")
        seen = frames()

    # Each once, although one that is answered late is sent again.
    found = [frame for frame in seen if ICMP in frame[VXLAN]]
    echoes = list({(f[IP].src, f[IP].dst, bytes(f[VXLAN][ICMP])): f for f in found}.values())
    nics = [hosts.plan("n1").layout.nics[node][0].mac for node in ("n1", "n2")]
    assert [(frame[IP].src, frame[IP].dst) for frame in echoes] == [
        ("192.0.2.1", "192.0.2.2"),
        ("192.0.2.2", "192.0.2.1"),
    ]
    assert {frame[VXLAN].vni for frame in echoes} == {vni(hosts)}
    assert [(frame[VXLAN][Ether].src, frame[VXLAN][Ether].dst) for frame in echoes] == [
        tuple(nics),
        tuple(reversed(nics)),
    ]
    assert [frame for frame in seen if ARP in frame[VXLAN]] == []


@pytest.mark.parametrize("count", [3, 10])
def test_who_is_unknown_is_asked_for_on_every_host_once(begun: Begun, count: int) -> None:
    from scapy.layers.inet import IP
    from scapy.layers.l2 import ARP
    from scapy.layers.vxlan import VXLAN

    hosts = begun(fleet(count))

    with wire("h1") as frames:
        send_arp(hosts, "n1", "10.0.0.250")
        assert ping(hosts, "n1", "n2")  # what came before it is on the wire by now
        asked = [f for f in frames() if ARP in f[VXLAN] and f[VXLAN][ARP].pdst == "10.0.0.250"]

    assert Counter(frame[IP].dst for frame in asked) == {f"192.0.2.{n}": 1 for n in range(2, count + 1)}


@pytest.mark.parametrize("family", [0, 1])
def test_a_node_that_waits_for_one_on_another_host_is_told_where_it_is(begun: Begun, family: int) -> None:
    hosts = begun(fleet(2, network="{ipv6: true}"))
    there = hosts.plan("n2").layout.nics["n2"][0]
    address = str(there.addresses[family].ip)
    hosts.node(
        "n1", "ip", "neigh", "replace", address, "lladdr", "02:00:00:00:00:99", "dev", "eth0", "nud", "stale"
    )
    hosts.run("h1", "ip", "neigh", "del", address, "dev", "br-lan")

    with simulated.inside("h1"):
        fabric.reconcile("lab")

    known = ("ip", "neigh", "show", address, "dev", "eth0")
    wait_until(lambda: there.mac in hosts.node("n1", *known))


def test_with_multicast_all_hosts_are_asked_by_one_packet_and_what_answers_is_learned(begun: Begun) -> None:
    from scapy.layers.inet import ICMP, IP
    from scapy.layers.l2 import ARP
    from scapy.layers.vxlan import VXLAN

    hosts = begun(fleet(3, network=BY_MULTICAST))

    with wire("h1") as frames:
        send_arp(hosts, "n1", "10.0.0.250")
        assert ping(hosts, "n1", "n2")
        seen = frames()
        asked = [f for f in seen if ARP in f[VXLAN] and f[VXLAN][ARP].pdst == "10.0.0.250"]
        echoes = [f for f in seen if ICMP in f[VXLAN]]
    assert [frame[IP].dst for frame in asked] == [group_of_tunnels(hosts)]
    assert {frame[IP].dst for frame in echoes} == {"192.0.2.1", "192.0.2.2"}
    assert {frame[IP].ttl for frame in seen} == {64}


def group_of_tunnels(hosts: Hosts) -> str:
    tunnel = hosts.plan("n1").layout.segments["lan"].tunnel
    assert tunnel is not None
    return str(tunnel.multicast)


def test_more_tunnels_than_a_host_may_be_in_groups_are_flooded_by_one(begun: Begun) -> None:
    names = [f"net{n}" for n in range(25)]  # of 20; net.ipv4.igmp_max_memberships
    networks = ", ".join(f"{name}: {BY_MULTICAST}" for name in names)
    hosts = begun(f"""
        name: lab
        hosts: {{h1: {{address: 192.0.2.1}}, h2: {{address: 192.0.2.2}}}}
        networks: {{{networks}}}
        nodes:
          n1..2: {{networks: [{", ".join(names)}], runs_on: [h1, h2]}}
    """)

    for nic in hosts.plan("n2").layout.nics["n2"]:
        assert ping_address(hosts, "n1", str(nic.addresses[0].ip))


def test_with_multicast_a_node_that_moved_is_found_once_it_was_heard(begun: Begun) -> None:
    file = fleet(3, network=BY_MULTICAST, more="mover: {networks: [lan], runs_on: %s}")
    hosts = begun(file % "h2")
    assert ping(hosts, "n1", "mover")

    hosts.apply(file % "h3")

    assert ping(hosts, "mover", "n1")
    assert ping(hosts, "n1", "mover")
    with simulated.inside("h1"):
        assert fabric.drift("lab") == ()


def test_multicast_over_ipv6_too(begun: Begun) -> None:
    text = fleet(2, network=BY_MULTICAST).replace("192.0.2.1}", "'2001:db8::1'}")
    hosts = begun(text.replace("192.0.2.2}", "'2001:db8::2'}"))

    assert group_of_tunnels(hosts).startswith("ff18::")
    assert ping(hosts, "n1", "n2", 1430 - 28)


@pytest.mark.parametrize("network", ["{}", BY_MULTICAST])
@pytest.mark.parametrize("group", ["255.255.255.255", "239.1.2.3"])
def test_broadcast_and_multicast_reach_each_node_on_every_host_once(
    begun: Begun, group: str, network: str
) -> None:
    hosts = begun(fleet(3, nodes_each=2, network=network))
    listeners = {}
    with ExitStack() as stack:
        for number in range(2, 7):
            udp = hosts.call(f"n{number}", lambda: stack.enter_context(listening(group)))
            listeners[f"n{number}"] = udp
        sender = hosts.call("n1", lambda: stack.enter_context(sending()))
        sender.sendto(b"all", (group, 7))
        for name, udp in listeners.items():
            sender.sendto(b"end", (hosts.address(name), 7))
            heard = []
            while not heard or heard[-1] != b"end":
                heard.append(udp.recv(100))
            assert heard == [b"all", b"end"], name


def listening(group: str) -> socket.socket:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.settimeout(PATIENCE)
    udp.bind(("", 7))
    if not group.startswith("255."):
        index = socket.if_nametoindex("eth0")
        member = socket.inet_aton(group) + bytes(4) + index.to_bytes(4, "little")
        udp.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    return udp


def sending() -> socket.socket:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
    return udp


def test_a_packet_of_exactly_the_mtu_goes_through_and_one_byte_more_does_not(begun: Begun) -> None:
    hosts = begun(fleet(2))

    assert ping(hosts, "n1", "n2", 1450 - 28)
    with pytest.raises(OSError, match="Message too long"):
        ping(hosts, "n1", "n2", 1450 - 28 + 1)


def test_an_ipv6_underlay_and_another_port_carry_both_families(begun: Begun) -> None:
    text = fleet(2, network="{ipv6: true, vxlan: {port: 5789}}").replace("192.0.2.1}", "'2001:db8::1'}")
    hosts = begun(text.replace("192.0.2.2}", "'2001:db8::2'}"))

    assert ping(hosts, "n1", "n2", 1430 - 28)
    six = str(hosts.plan("n2").layout.nics["n2"][0].addresses[1].ip)

    def connect() -> int:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as tcp:
            tcp.settimeout(PATIENCE)
            return tcp.connect_ex((six, 9))

    assert os.strerror(hosts.call("n1", connect)) == "Connection refused"
    assert "dstport 5789" in hosts.run("h1", "ip", "-d", "link", "show", "type", "vxlan")


def strangers_counted(hosts: Hosts, host: str) -> int:
    """Packets that the filter of that host's tunnels has dropped."""
    listing = json.loads(hosts.run(host, "nft", "-j", "list", "chain", "inet", "netfab-lab", "strangers"))
    return sum(
        expression["counter"]["packets"]
        for item in listing["nftables"]
        for expression in item.get("rule", {}).get("expr", ())
        if "counter" in expression
    )


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("fragmented", [False, True], ids=["whole", "in fragments"])
def test_a_strangers_datagram_reaches_neither_the_forwarding_table_nor_a_node(
    begun: Begun, family: int, fragmented: bool
) -> None:
    from scapy.layers.inet import IP, UDP, fragment
    from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, fragment6
    from scapy.layers.l2 import ARP, Ether
    from scapy.layers.vxlan import VXLAN

    text = fleet(
        2, network="{internal: true}"
    )  # nothing tracks connections there, and puts fragments together
    if family == 6:
        text = text.replace("192.0.2.1}", "'2001:db8::1'}").replace("192.0.2.2}", "'2001:db8::2'}")
    hosts = begun(text)
    subprocess.run(["ip", "netns", "add", "stranger"], check=True)
    for line in (
        "link add foreign type veth peer name eth0 netns stranger",
        "link set foreign master underlay up",
        "-n stranger link set eth0 up",
    ):
        subprocess.run(["ip", *line.split()], check=True)
    wait_until(lambda: passes_frames("foreign"))
    inner = Ether(src="02:66:66:66:66:66", dst="ff:ff:ff:ff:ff:ff") / ARP(
        hwsrc="02:66:66:66:66:66", psrc="10.0.0.99", pdst=hosts.address("n1")
    )
    payload = UDP(sport=4789, dport=4789) / VXLAN(flags="Instance", vni=vni(hosts)) / inner
    target = mac_of_eth0(hosts)
    if family == 4:
        packet: Any = IP(src="192.0.2.66", dst="192.0.2.1") / payload
        packets = fragment(packet, 8) if fragmented else [packet]
    else:
        packet = IPv6(src="2001:db8::66", dst="2001:db8::1")
        whole = packet / (IPv6ExtHdrFragment(id=7) / payload if fragmented else payload)
        packets = fragment6(whole, 56) if fragmented else [whole]
    raw = [bytes(Ether(src="02:66:66:66:66:67", dst=target) / each) for each in packets]
    fd = os.open("/run/netns/stranger", os.O_RDONLY)
    with in_namespace(fd), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as packets_out:
        packets_out.bind(("eth0", 0))
        for each in raw:
            packets_out.send(each)

    wait_until(lambda: strangers_counted(hosts, "h1") > 0)
    assert "02:66:66" not in hosts.run("h1", "bridge", "fdb", "show")
    assert "02:66:66" not in hosts.node("n1", "ip", "neigh", "show")
    assert ping(hosts, "n1", "n2")


def passes_frames(port: str) -> bool:
    """Whether its bridge does, which hears of its carrier a while after that is there."""
    told = subprocess.run(["bridge", "-j", "link", "show", "dev", port], check=True, capture_output=True)
    return bool(json.loads(told.stdout)[0]["state"] == "forwarding")


def mac_of_eth0(hosts: Hosts) -> str:
    found = json.loads(hosts.run("h1", "ip", "-j", "link", "show", "eth0"))
    return str(found[0]["address"])


@contextmanager
def in_namespace(fd: int) -> Iterator[None]:
    from netfab.hosts.sandbox import excursion
    from netfab.system import linux

    with excursion():
        linux.setns(fd, linux.CLONE_NEWNET)
        os.close(fd)
        yield


def wait_until(true: Callable[[], bool]) -> None:
    deadline = monotonic() + PATIENCE
    while not true():
        assert monotonic() < deadline, "it did not come"
        select.select([], [], [], 0.01)


def test_other_tunnels_on_the_same_port_stay_open(begun: Begun) -> None:
    hosts = begun(fleet(2))
    for host, own, other in (("h1", 1, 2), ("h2", 2, 1)):
        ends = f"local 192.0.2.{own} remote 192.0.2.{other} dev eth0"
        for line in (
            f"link add vxown type vxlan id 999 dstport 4789 {ends}",
            f"address add 198.51.100.{own}/24 dev vxown",
            "link set vxown up",
        ):
            # from an address that is no peer of the fabric's
            hosts.run(host, "ip", *line.split())
    hosts.run("h2", "ip", "address", "add", "192.0.2.77/24", "dev", "eth0")
    hosts.run("h2", "ip", "link", "set", "vxown", "type", "vxlan", "local", "192.0.2.77")

    with simulated.inside("h2"), socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
        tcp.settimeout(PATIENCE)
        assert os.strerror(tcp.connect_ex(("198.51.100.1", 9))) == "Connection refused"


def test_strangers_are_kept_out_before_the_tunnel_is_made_and_until_it_is_gone(begun: Begun) -> None:
    hosts = begun(fleet(2))
    wanted = hosts.plans["h1"].fabric
    nothing = Fabric(wanted.name)

    up = [[type(change.object) for change in phase] for phase in order(diff(wanted, nothing))]
    down = [[type(change.object) for change in phase] for phase in order(diff(nothing, wanted))]

    assert first_with(up, Firewall) < first_with(up, Vxlan)
    assert first_with(down, Vxlan) < first_with(down, Firewall)


def first_with(phases: list[list[type[Any]]], kind: type[Any]) -> int:
    return next(number for number, kinds in enumerate(phases) if kind in kinds)


def test_a_node_that_moves_to_another_host_is_found_there_by_its_old_address(begun: Begun) -> None:
    hosts = begun(fleet(3, more="mover: {networks: [lan], runs_on: h2}"))
    address = hosts.address("mover")
    assert ping(hosts, "n1", "mover")

    hosts.apply(fleet(3, more="mover: {networks: [lan], runs_on: h3}"))

    assert hosts.address("mover") == address
    assert ping(hosts, "n1", "mover")
    assert ping(hosts, "n2", "mover")


def test_a_router_on_one_host_joins_networks_of_nodes_on_others(begun: Begun) -> None:
    hosts = begun("""
        name: lab
        hosts: {h1: {address: 192.0.2.1}, h2: {address: 192.0.2.2}, h3: {address: 192.0.2.3}}
        networks: {front: {}, back: {gateway: r}}
        nodes:
          a: {networks: [front], runs_on: h1}
          r: {networks: [front], runs_on: h2}
          b: {networks: [back], runs_on: h3}
    """)

    assert ping(hosts, "a", "b")
    assert ping(hosts, "b", "a")


def test_networks_over_the_same_hosts_stay_apart(begun: Begun) -> None:
    hosts = begun("""
        name: lab
        hosts: {h1: {address: 192.0.2.1}, h2: {address: 192.0.2.2}}
        networks: {one: {}, other: {}}
        nodes:
          a: {networks: [one], runs_on: h1}
          b: {networks: [one], runs_on: h2}
          c: {networks: [other], runs_on: h2}
    """)

    def connect() -> int:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
            tcp.settimeout(0.8)
            return tcp.connect_ex((hosts.address("c"), 9))

    assert ping(hosts, "a", "b")
    assert hosts.call("a", connect) != 111  # refused would be c's own answer


def test_no_host_shows_drift_after_an_apply_and_damage_of_a_tunnel_is_seen_and_mended(begun: Begun) -> None:
    hosts = begun(fleet(3))
    with simulated.inside("h1"):
        assert fabric.drift("lab") == ()
    mac = hosts.plan("n2").layout.nics["n2"][0].mac
    hosts.run("h1", "bridge", "fdb", "del", mac, "dev", "vx1", "self")
    hosts.run("h1", "bridge", "fdb", "add", mac, "dev", "vx1", "self", "dst", "192.0.2.3")
    hosts.run("h1", "ip", "neigh", "flush", "dev", "br-lan", "nud", "permanent")

    with simulated.inside("h1"):
        changes = {(change.action, type(change.object)) for change in fabric.reconcile("lab").changes}

    assert changes == {("update", VxlanFdb), ("create", Neighbour)}
    assert ping(hosts, "n1", "n2")
