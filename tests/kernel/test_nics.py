"""Guests on the NICs of the host: what passes, what is refused, and that a NIC comes back with all it had.

A NIC here is a veth, whose other end is in a namespace that stands for another machine on the wire.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest
from kills import is_killed
from machine import differences, snapshot

from netfab import fabric
from netfab.errors import NetfabError
from netfab.hosts.sandbox import throwaway
from netfab.imperative import adhoc
from netfab.kernel.netns import Namespaces
from netfab.objects.base import HOST
from netfab.topology.load import load
from netfab.where import HERE, Where

FAR = "198.51.100.9"
PATIENCE = 60  # seconds, for what hangs
MACHINE = """
ip netns add lan
ip link add ens1 address 02:00:5e:00:00:01 type veth peer name far netns lan
ip link set ens1 addrgenmode none up
ip -n lan link set far up
ip -n lan address add 198.51.100.9/24 dev far
ip -n lan address add 2001:db8::9/64 dev far nodad
ip netns add blue
ip netns add red
"""
# What a NIC may have. The default route of another NIC: ens1's is not the only one.
BELONGINGS = """
ip link add ens2 type veth peer name far2 netns lan
ip link set ens2 addrgenmode none up
ip address add 203.0.113.1/24 dev ens2
ip route add default via 203.0.113.9 dev ens2 metric 500
ip link set ens1 mtu 1400 alias "to the street" group 7
ip address add 198.51.100.1/24 dev ens1 label ens1:web
ip address add 198.51.100.5/24 dev ens1
ip address add 192.0.2.1 peer 192.0.2.2/32 dev ens1
ip address add 2001:db8::1/64 dev ens1 nodad
ip route add 192.0.2.77 via 198.51.100.9 metric 3
ip route add default via 192.0.2.77 dev ens1 onlink metric 50 proto static src 198.51.100.5 mtu 1300
ip route add 10.9.0.0/16 via 198.51.100.9 table 99
ip route add 10.8.0.0/16 nexthop via 198.51.100.9 weight 3 nexthop via 203.0.113.9
ip route add default via 2001:db8::9 metric 77
ip -6 route add 2001:db8:8::/48 via 2001:db8::9 table 1234
ip route append 10.9.0.0/16 via 203.0.113.9 table 99
sysctl -qw net.ipv4.conf.ens1.rp_filter=2
"""


def sh(script: str) -> str:
    return subprocess.run(
        ["sh", "-ec", script], check=True, capture_output=True, text=True, timeout=PATIENCE
    ).stdout


@pytest.fixture
def machine() -> None:
    sh(MACHINE)


def attach(nic: str = "ens1", guest: str = "blue", *words: str, where: Where = HERE, **options: Any) -> Any:
    moves, mtu, replace = options.pop("moves", False), options.pop("mtu", 0), options.pop("replace", False)
    host_link = options.pop("host_link", "")
    assert not options
    request = adhoc.request_of(nic, f"netns:{guest}", words, "eth1", host_link, "", mtu, moves=moves)
    return adhoc.attach(request, where, replace)


def detach(nic: str = "ens1", guest: str = "blue", where: Where = HERE) -> Any:
    return adhoc.detach(nic, f"netns:{guest}", where=where)


def reaches(source: str, target: str, address: str) -> bool:
    """Whether a connection is made, from one namespace to an address of another."""
    spaces = Namespaces()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with spaces.inside(target if target == HOST else f"node {target}"):
            server = socket.socket(family)
        with spaces.inside(f"node {source}"):
            client = socket.socket(family)
        with server, client:
            server.bind((address, 7))
            server.listen()
            client.settimeout(PATIENCE)
            client.connect((address, 7))
            return True
    finally:
        spaces.close()


def inside(guest: str, link: str = "eth1") -> str:
    """The interface in a guest, as `ip` shows it; "" where there is none."""
    found = subprocess.run(
        ["ip", "-n", guest, "-d", "link", "show", link], capture_output=True, text=True, check=False
    )
    return found.stdout


@pytest.mark.usefixtures("machine")
def test_a_guest_reaches_the_machine_behind_the_nic_by_both_families() -> None:
    attach("ens1", "blue", "198.51.100.3/24", "2001:db8::3/64")

    assert reaches("blue", "lan", FAR)
    assert reaches("lan", "blue", "2001:db8::3")


@pytest.mark.usefixtures("machine")
def test_two_guests_on_one_nic_reach_each_other() -> None:
    attach("ens1", "blue", "198.51.100.3/24")
    attach("ens1", "red", "198.51.100.4/24")

    assert reaches("blue", "red", "198.51.100.4")


@pytest.mark.usefixtures("machine")
def test_the_same_again_changes_nothing_and_detach_leaves_nothing() -> None:
    before = snapshot()
    attach("ens1", "blue", "198.51.100.3/24")
    again = attach("ens1", "blue", "198.51.100.3/24")

    detach()

    assert again.changes == ()
    assert inside("blue") == ""
    assert differences(without_store(before), without_store(snapshot())) == []


@pytest.mark.usefixtures("machine")
def test_the_guest_has_the_nics_mtu_and_may_have_a_smaller_one() -> None:
    sh("ip link set ens1 mtu 1450")

    attach("ens1", "blue", "198.51.100.3/24")
    attach("ens1", "red", "198.51.100.4/24", mtu=1300)

    assert "mtu 1450" in inside("blue")
    assert "mtu 1300" in inside("red")


@pytest.mark.usefixtures("machine")
def test_a_nic_is_found_by_its_mac() -> None:
    attach("mac:02-00-5E-00-00-01", "blue", "198.51.100.3/24")

    assert [one.bridge for one in adhoc.attachments()] == ["ens1"]
    assert detach("mac:02:00:5e:00:00:01")[0] != []
    assert inside("blue") == ""


@pytest.mark.usefixtures("machine")
def test_a_bridge_is_found_by_its_mac() -> None:
    sh("ip link add br7 address 02:00:5e:00:00:07 type bridge; ip link set br7 up")

    attach("mac:02:00:5e:00:00:07", "blue", "198.51.100.3/24")

    assert [(one.bridge, one.way) for one in adhoc.attachments()] == [("br7", "bridge")]


@pytest.mark.usefixtures("machine")
def test_what_others_did_to_a_macvlan_is_repaired() -> None:
    attach("ens1", "blue", "198.51.100.3/24")
    sh("ip -n blue link set eth1 down mtu 1300 address 02:00:00:00:00:77 type macvlan mode private")

    adhoc.reconcile("adhoc")

    assert "macvlan mode bridge" in inside("blue")
    assert reaches("blue", "lan", FAR)


@pytest.mark.usefixtures("machine")
def test_a_guest_that_restarts_has_its_mac_again_although_the_kernel_is_late_to_free_it() -> None:
    attach("ens1", "blue", "198.51.100.3/24")

    for _ in range(5):
        sh("ip netns delete blue; ip netns add blue")
        adhoc.reconcile("adhoc")

    assert reaches("blue", "lan", FAR)


@pytest.mark.usefixtures("machine")
def test_an_attachment_waits_for_a_nic_that_is_unplugged() -> None:
    attach("ens1", "blue", "198.51.100.3/24")
    attach("br0", "red", "10.1.0.2/24")
    sh("ip link delete ens1")
    adhoc.reconcile("adhoc")
    sh("ip link add ens1 type veth peer name far netns lan; ip link set ens1 up; ip -n lan link set far up")

    adhoc.reconcile("adhoc")

    assert inside("blue") != ""


@pytest.mark.usefixtures("machine")
def test_a_moved_nic_serves_the_guest_under_its_own_mac() -> None:
    sh(BELONGINGS)

    attach("ens1", "blue", "198.51.100.3/24@198.51.100.9", moves=True)

    assert "02:00:5e:00:00:01" in inside("blue")
    assert "mtu 1400" in inside("blue")
    assert reaches("blue", "lan", FAR)
    assert "default via 198.51.100.9 dev eth1" in sh("ip -n blue route")


@pytest.mark.usefixtures("machine")
def test_a_moved_nic_comes_back_with_its_addresses_routes_and_settings() -> None:
    sh(BELONGINGS)
    before, told = snapshot(), everything()
    attach("ens1", "blue", "198.51.100.3/24@198.51.100.9", "02:00:5e:00:00:55", mtu=1300, moves=True)
    assert "ens1" not in sh("ip link")

    detach()

    becomes(told)
    assert differences(without_store(before), without_store(snapshot())) == []
    assert sh("sysctl -n net.ipv4.conf.ens1.rp_filter") == "2\n"


@pytest.mark.usefixtures("machine")
def test_a_nic_that_was_down_comes_back_down() -> None:
    sh("ip link set ens1 down; ip address add 198.51.100.1/24 dev ens1")
    told = everything()
    attach("ens1", "blue", "198.51.100.3/24", moves=True)

    detach()

    becomes(told)


@pytest.mark.usefixtures("machine")
def test_a_moved_nic_moves_on_to_another_guest_and_home() -> None:
    sh(BELONGINGS)
    told = everything()
    attach("ens1", "blue", "198.51.100.3/24", moves=True)

    detach("ens1", "blue")
    attach("ens1", "red", "198.51.100.4/24", moves=True)
    assert reaches("red", "lan", FAR)
    detach("ens1", "red")

    becomes(told)


@pytest.mark.usefixtures("machine")
def test_a_nic_that_the_kernel_brought_home_is_given_everything_back() -> None:
    """Hardware that was in a namespace that ended: under the inner name, down, bare."""
    sh(BELONGINGS)
    told = everything()
    attach("ens1", "blue", "198.51.100.3/24", moves=True)
    sh(f"ip -n blue link set eth1 netns {os.getpid()}; ip netns delete blue")

    adhoc.reconcile("adhoc")

    becomes(told)


@pytest.mark.usefixtures("machine")
def test_a_guest_can_not_pass_another_link_off_as_the_nic() -> None:
    sh(BELONGINGS)
    attach("ens1", "blue", "198.51.100.3/24", moves=True)
    sh("ip -n blue link add a0 index 2 type bridge; ip -n blue link set a0 alias 'netfab:nic adhoc ens1'")

    adhoc.reconcile("adhoc")
    detach()

    assert inside("blue", "a0") != ""
    assert "02:00:5e:00:00:01" in sh("ip link show ens1")


@pytest.mark.usefixtures("machine")
def test_another_link_of_its_name_is_told_and_once_it_is_gone_all_is_given_back() -> None:
    sh(BELONGINGS)
    told = everything()
    attach("ens1", "blue", "198.51.100.3/24", moves=True)
    sh("ip link add ens1 type bridge")
    with pytest.raises(NetfabError, match=r"move eth1 .* back to ens1: File exists \(EEXIST\)"):
        detach()
    sh("ip link delete ens1")

    detach()

    becomes(told)


@pytest.mark.usefixtures("machine")
def test_an_index_that_another_link_took_meanwhile_hinders_nothing() -> None:
    sh(BELONGINGS)
    index = sh("cat /sys/class/net/ens1/ifindex 2>/dev/null || ip -o link show ens1 | cut -d: -f1").strip()
    attach("ens1", "blue", "198.51.100.3/24", moves=True)
    sh(f"ip link add tap0 index {index} type bridge")

    detach()

    assert "198.51.100.1/24" in sh("ip address show ens1")


def test_a_kill_at_any_step_of_a_move_loses_nothing(record_property: Callable[[str, object], None]) -> None:
    def begin(where: Where = HERE) -> None:
        attach("ens1", "blue", "198.51.100.3/24@198.51.100.9", moves=True, where=where)

    def end(where: Where = HERE) -> None:
        detach(where=where)

    swept = 0
    for job, first in ((begin, lambda: None), (end, begin)):
        for step in range(1, 1 + _steps(job, first)):
            swept += 1
            with throwaway():
                sh(MACHINE + BELONGINGS)
                told = everything()
                first()
                assert is_killed(step, job)

                detach()

                becomes(told, f"{job.__name__} {step}")
                assert inside("blue") == ""
    record_property("crash points", swept)
    assert swept > 20


@pytest.mark.usefixtures("machine")
def test_a_kill_leaves_no_macvlan_that_detach_does_not_find() -> None:
    for step in range(1, 5):
        assert is_killed(step, lambda where: attach("ens1", "blue", "198.51.100.3/24", where=where))

        detach()

        assert inside("blue") == ""


def _steps(job: Callable[[Where], None], first: Callable[[], None]) -> int:
    count = 0

    def counting(op: object) -> bool:
        nonlocal count
        count += 1
        return False

    with throwaway():
        sh(MACHINE + BELONGINGS)
        first()
        job(Where(hook=counting))
    return count


REFUSALS = {
    "a NIC that is down": (
        "ip link set ens1 down",
        lambda: attach("ens1", "blue", "198.51.100.3/24"),
        "ens1 is down, so nothing would pass it",
    ),
    "a port of a bridge": (
        "ip link add br7 type bridge; ip link set ens1 master br7",
        lambda: attach("ens1", "blue", "198.51.100.3/24"),
        "ens1 is a port of br7",
    ),
    "what is not there": (
        "",
        lambda: attach("ens9", "blue", "198.51.100.3/24"),
        "there is no bridge or NIC ens9 on this host",
    ),
    "a MAC that nobody has": (
        "",
        lambda: attach("mac:02:00:5e:00:00:99", "blue", "198.51.100.3/24"),
        "no bridge or NIC of this host has the MAC 02:00:5e:00:00:99",
    ),
    "the only way out": (
        "ip address add 198.51.100.1/24 dev ens1; ip route add default via 198.51.100.9",
        lambda: attach("ens1", "blue", "198.51.100.3/24", moves=True),
        "ens1 has the only default route of this host, which would be cut off",
    ),
    "a bridge to be moved": (
        "",
        lambda: attach("br0", "blue", "198.51.100.3/24", moves=True),
        "--direct-phys moves a NIC, and br0 is a bridge",
    ),
    "a host's end": (
        "",
        lambda: attach("ens1", "blue", "198.51.100.3/24", host_link="mine"),
        "-l mine: on a NIC there is no host's end that could have a name",
    ),
    "a greater MTU than the NIC's": (
        "",
        lambda: attach("ens1", "blue", "198.51.100.3/24", mtu=9000),
        "an MTU of 9000 is more than ens1 has, 1500",
    ),
    "no netmask": (
        "",
        lambda: attach("ens1", "blue", "198.51.100.3"),
        "The IP address should include a netmask.",
    ),
}


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("what", REFUSALS)
def test_what_cannot_be_had_of_a_nic_is_refused_before_anything_is_made(what: str) -> None:
    script, attempt, told = REFUSALS[what]
    sh(script or ":")

    with pytest.raises(NetfabError) as caught:
        attempt()

    assert str(caught.value).startswith(told)
    assert adhoc.attachments() == []
    assert inside("blue") == ""


@pytest.mark.usefixtures("machine")
def test_a_nic_that_guests_share_is_not_moved_away_from_them() -> None:
    attach("ens1", "blue", "198.51.100.3/24")

    with pytest.raises(NetfabError, match=r"ens1 can't be moved into a node and be used elsewhere, too"):
        attach("ens1", "red", "198.51.100.4/24", moves=True)

    assert reaches("blue", "lan", FAR)


def test_a_link_to_the_host_has_an_address_there_that_the_node_reaches() -> None:
    before = snapshot()
    text = b"name: shop\nnodes: {r: {}}\nlinks: [[r, 'host:lab0']]"

    fabric.apply(load(text, "shop.yaml", "/", {}, None), "shop.yaml")
    again = fabric.apply(load(text, "shop.yaml", "/", {}, None), "shop.yaml")[1]
    reached = reaches("shop.r", HOST, "10.0.0.0")
    fabric.destroy("shop")

    assert (reached, again.changes) == (True, ())
    assert differences(without_store(before), without_store(snapshot())) == []


FILE = b"""
name: shop
nodes: {r: {}, s: {}}
links:
- [{node: r, ip: 198.51.100.3/24}, macvlan:ens1]
- {endpoints: [{node: s, ip: 203.0.113.3/24}, nic:ens2]}
"""


@pytest.mark.usefixtures("machine")
def test_a_topology_has_links_to_nics_and_gives_them_back() -> None:
    sh(BELONGINGS)
    told = everything()

    fabric.apply(load(FILE, "shop.yaml", "/", {}, None), "shop.yaml")
    assert reaches("shop.r", "lan", FAR)
    assert "ens2" not in sh("ip link")
    fabric.destroy("shop")

    becomes(told)


@pytest.mark.usefixtures("machine")
def test_a_nic_that_came_home_by_a_reboot_is_moved_again_and_comes_back_as_it_is_now() -> None:
    sh(BELONGINGS)
    fabric.apply(load(FILE, "shop.yaml", "/", {}, None), "shop.yaml")
    sh(f"""ip -n shop.s link set eth0 down group 0 alias '' name ens2 netns {os.getpid()}
           ip netns delete shop.s; ip netns delete shop.r
           ip link set ens2 addrgenmode none up; ip address add 203.0.113.50/24 dev ens2""")
    told = everything()

    fabric.reconcile("shop")
    assert "ens2" not in sh("ip link")
    fabric.destroy("shop")

    becomes(told)


# Of what `ip` tells: routes that come with an address of IPv6, once there is a carrier; indexes, and states.
BY_ITSELF = r"(local|anycast|multicast) .*:"
CHANGES = r"^\d+: |promiscuity \d+ |qdisc \S+ |state \S+ |NO-CARRIER,|,LOWER_UP|linkdown |valid_lft .*"


def everything() -> str:
    """All that `ip` tells of links, addresses and routes of the host."""

    def told(command: str) -> list[str]:
        lines = (line for line in sh(command).splitlines() if not re.match(BY_ITSELF, line))
        return [re.sub(CHANGES, "", line) for line in lines]

    def name(line: str) -> str:
        return line.split()[0]

    routes = told("ip route show table all; ip -6 route show table all; ip rule")
    links, addresses = told("ip -o -d link"), told("ip -o address")
    return "\n".join([*sorted(links, key=name), *sorted(addresses, key=name), *routes])


def becomes(told: str, when: str = "") -> None:
    """What there is on the host, once there is a carrier again."""
    deadline = monotonic() + PATIENCE
    while everything() != told and monotonic() < deadline:
        pass
    assert everything() == told, when


def without_store(found: dict[str, frozenset[object]]) -> dict[str, frozenset[object]]:
    return {what: there for what, there in found.items() if what not in ("/run/netfab", "/var/lib/netfab")}
