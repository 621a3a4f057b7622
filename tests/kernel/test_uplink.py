"""A NIC lent to a bridge: nothing is lost on the way there and back, what others change is repaired.

A NIC here is a veth, whose other end is in a namespace that stands for the LAN.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

import pytest
from kills import is_killed
from pings import Way, pings

from netfab import fabric
from netfab.errors import NetfabError
from netfab.hosts.sandbox import throwaway
from netfab.imperative import adhoc, uplink
from netfab.topology.load import load
from netfab.where import HERE, Where

PATIENCE = 60  # seconds, for what hangs
TOLD = 1.2  # seconds in which a question to a neighbour that was lost would be asked again
MACHINE = """
ip netns add lan
ip link add ens1 address 02:00:5e:00:00:01 type veth peer name far netns lan
ip link set ens1 addrgenmode none up
ip -n lan link set far up
ip -n lan address add 198.51.100.9/24 dev far
ip -n lan address add 2001:db8::9/64 dev far nodad
ip address add 198.51.100.1/24 dev ens1
ip address add 2001:db8::1/64 dev ens1 nodad
ip route add default via 198.51.100.9
ip netns add blue
"""
# Of another NIC, too, which has to stay as it is.
BELONGINGS = """
ip link add ens2 type veth peer name far2 netns lan
ip link set ens2 addrgenmode none up
ip address add 203.0.113.1/24 dev ens2
ip route add default via 203.0.113.9 dev ens2 metric 500
ip link set ens1 alias "to the street"
ip address add 198.51.100.5/24 dev ens1 label ens1:web
ip address add 192.0.2.1 peer 192.0.2.2/32 dev ens1
ip address add 198.51.101.7/24 dev ens1 noprefixroute
ip route add 198.51.101.0/24 dev ens1 proto kernel scope link src 198.51.101.7 metric 100
ip route add 192.0.2.77 via 198.51.100.9 metric 3
ip route add default via 192.0.2.77 dev ens1 onlink metric 50 proto static src 198.51.100.5 mtu 1300
ip route add 10.9.0.0/16 via 198.51.100.9 table 99
ip route add 10.8.0.0/16 nexthop via 198.51.100.9 weight 3 nexthop via 203.0.113.9
ip route add default via 2001:db8::9 metric 77
ip -6 route add 2001:db8:8::/48 via 2001:db8::9 table 1234
"""
FILE = """
name: shop
networks:
  lan:
    uplink: ens1
    subnet: 198.51.100.0/24
    gateway: {external: 198.51.100.9}
  back: {}
nodes:
  web: {networks: [lan]}
  db: {networks: [back]}
"""


def sh(script: str) -> str:
    return subprocess.run(
        ["sh", "-ec", script], check=True, capture_output=True, text=True, timeout=PATIENCE
    ).stdout


def reaches(source: str, target: str) -> bool:
    """Whether an address answers a ping from a namespace; it is asked again, until it does."""
    return _pinged(source, target, f"-w{PATIENCE}")


def is_kept_from(source: str, target: str) -> bool:
    """Whether it does not, for a while."""
    return not _pinged(source, target, "-W1")


def _pinged(source: str, target: str, patience: str) -> bool:
    argv = ["ip", "netns", "exec", source] if source else []
    ran = subprocess.run([*argv, "ping", "-qc1", patience, target], capture_output=True, check=False)
    return ran.returncode == 0


def apply(text: str = FILE) -> Any:
    return fabric.apply(load(text.encode(), "shop.yaml", "/", {}, None), "shop.yaml")


def addresses(link: str) -> list[str]:
    """Of IPv4, as `ip` shows them."""
    return re.findall(r"inet (\S+)", sh(f"ip -4 -o address show dev {link}"))


# Routes that come with an address of IPv6 once there is a carrier; indexes, and states.
BY_ITSELF = r"(local|anycast|multicast) .*:|unreachable "
CHANGES = (
    r"^\d+: |promiscuity \d+ |allmulti \d+ |qdisc \S+ |state \S+ |valid_lft .*|\w+_timer +[\d.]+ |"
    r"[gt]so_max_size \d+ "
)


def everything() -> str:
    """All that `ip` tells of links, addresses, routes and rules of the host."""

    def told(command: str) -> list[str]:
        lines = (line for line in sh(command).splitlines() if not re.match(BY_ITSELF, line))
        return sorted(re.sub(CHANGES, "", line) for line in lines)

    commands = (
        "ip -o -d link",
        "ip -o address",
        "ip route show table all; ip -6 route show table all; ip rule",
    )
    return "\n".join(line for command in commands for line in told(command))


def becomes(told: str, when: object = "") -> None:
    deadline = monotonic() + PATIENCE
    while everything() != told and monotonic() < deadline:
        sleep(0.01)
    assert everything() == told, when


@pytest.fixture
def machine() -> None:
    sh(MACHINE)


@pytest.mark.usefixtures("machine")
def test_no_ping_is_lost_there_and_back_in_both_directions_and_families() -> None:
    # Once more where one is: a frame that comes in the microseconds in which the kernel takes a port off its
    # bridge is lost (net/bridge/br_if.c, del_nbp), in one of a hundred runs on a busy machine.
    lost = [_lost_there_and_back()]
    while any(lost[-1].values()) and len(lost) < 3:
        lost.append(_lost_there_and_back())

    assert not any(lost[-1].values()), lost


def _lost_there_and_back() -> dict[Way, int]:
    lan = "/run/netns/lan"
    ways = [
        Way("", "198.51.100.9"),
        Way(lan, "198.51.100.1"),
        Way("", "2001:db8::9"),
        Way(lan, "2001:db8::1"),
    ]

    with pings(ways) as running:
        for pause in (0, TOLD):  # the kernel tells of a carrier later when it has told of another just now
            uplink.uplink("br0", "ens1")
            sleep(pause)
            uplink.detach("br0", "ens1")
            sleep(pause)

    return {way: heard.lost for way, heard in running.heard.items()}


@pytest.mark.usefixtures("machine")
def test_the_bridge_has_all_that_the_nic_had_and_gives_it_back() -> None:
    sh(BELONGINGS)
    told = everything()

    uplink.uplink("br0", "ens1")
    routes = sh("ip route show table all; ip -6 route show table all")
    held = addresses("br0")
    again = uplink.uplink("br0", "ens1").changes
    uplink.detach("br0", "ens1")

    assert sorted(addresses_of(told, "ens1")) == sorted(held)
    assert "default via 192.0.2.77 dev br0 proto static src 198.51.100.5 metric 50 onlink mtu 1300" in routes
    assert "198.51.101.0/24 dev br0 proto kernel scope link src 198.51.101.7 metric 100" in routes
    assert "10.9.0.0/16 via 198.51.100.9 dev br0 table 99" in routes
    assert "2001:db8:8::/48 via 2001:db8::9 dev br0 table 1234" in routes
    assert [line for line in routes.splitlines() if "dev ens1" in line and "multicast" not in line] == []
    assert again == ()
    becomes(told)


def addresses_of(told: str, link: str) -> list[str]:
    return [address for line in told.splitlines() for address in re.findall(rf"^{link} +inet (\S+)", line)]


@pytest.mark.usefixtures("machine")
def test_addresses_of_ipv6_come_back_with_the_flags_that_they_had() -> None:
    sh("ip -6 address flush dev ens1; sysctl -qw net.ipv6.conf.ens1.accept_dad=0")
    sh("ip address add 2001:db8::1/64 dev ens1; ip address add fe80::1/64 dev ens1 nodad")
    before = settled_addresses("ens1")

    uplink.uplink("br0", "ens1")
    uplink.detach("br0", "ens1")

    assert settled_addresses("ens1") == before


def settled_addresses(link: str) -> str:
    """Also without `accept_dad`, an address is tentative until a worker of the kernel's has looked at it."""
    deadline = monotonic() + PATIENCE
    while "tentative" in (told := sh(f"ip -6 -o address show dev {link}")):
        assert monotonic() < deadline, told
        sleep(0.01)
    return told


@pytest.mark.usefixtures("machine")
def test_a_guest_of_the_bridge_and_the_lan_reach_each_other() -> None:
    adhoc.attach(adhoc.request_of("br0", "netns:blue", ["198.51.100.20/24"]))
    uplink.uplink("br0", "ens1")

    assert reaches("blue", "198.51.100.9")
    assert reaches("lan", "198.51.100.20")
    assert reaches("blue", "198.51.100.1")


@pytest.mark.usefixtures("machine")
def test_the_bridge_stays_for_its_guests_when_the_nic_goes_and_goes_with_the_last() -> None:
    adhoc.attach(adhoc.request_of("br0", "netns:blue", ["198.51.100.20/24"]))
    uplink.uplink("br0", "ens1")

    uplink.detach("br0", "ens1")
    stays = "br0" in sh("ip link")
    adhoc.detach("br0", "netns:blue")

    assert stays
    assert "br0" not in sh("ip link")
    assert adhoc.asked_for(HERE).uplinks == {}


UNPLUGGED = "ens1, the uplink of br0, is gone from this host; it is lent again when it is back"


@pytest.mark.usefixtures("machine")
def test_a_nic_that_is_unplugged_is_told_of_and_hinders_no_repair_and_is_lent_again_when_it_is_back() -> None:
    adhoc.attach(adhoc.request_of("br0", "netns:blue", ["198.51.100.20/24"]))
    uplink.uplink("br0", "ens1")
    sh("ip link delete ens1; ip -n blue link delete eth1")

    drift = [change.object.names[0].space for change in fabric.drift("adhoc")]
    adhoc.reconcile("adhoc")

    assert "nic" not in drift
    assert "198.51.100.20/24" in sh("ip -n blue address")
    assert fabric.warnings("adhoc") == (UNPLUGGED,)
    assert uplink.uplinks() == [("br0", "ens1", True)]
    sh("ip link add ens1 type veth peer name far netns lan; ip address add 198.51.100.1/24 dev ens1")
    sh("ip -n lan link set far up; ip -n lan address add 198.51.100.9/24 dev far")
    adhoc.reconcile("adhoc")
    assert reaches("lan", "198.51.100.20")
    assert fabric.warnings("adhoc") == ()


@pytest.mark.usefixtures("machine")
def test_a_file_whose_nic_is_unplugged_is_repaired_without_it_and_detach_and_destroy_clean() -> None:
    apply(FILE.replace("uplink:", "bridge: br0\n    uplink:"))
    sh("ip link delete ens1; ip -n shop.db link set eth0 down")

    fabric.reconcile("shop")

    assert fabric.drift("shop") == ()
    assert fabric.warnings("shop") == (UNPLUGGED,)
    with pytest.raises(NetfabError, match="this host has no NIC ens1"):
        apply()
    fabric.destroy("shop")
    assert "br0" not in sh("ip link")


@pytest.mark.usefixtures("machine")
def test_a_bridge_of_somebody_else_lends_its_place_and_stays_as_it_is() -> None:
    sh("""ip link add br9 address 02:00:5e:00:00:09 type bridge
          ip link set br9 addrgenmode none up; ip address add 10.9.9.1/24 dev br9""")
    told = everything()

    uplink.uplink("br9", "ens1")
    held, reached = addresses("br9"), reaches("lan", "198.51.100.1")
    uplink.detach("br9", "ens1")

    assert held == ["10.9.9.1/24", "198.51.100.1/24"]
    assert reached
    becomes(told)


DAMAGES = {
    "the NIC is taken off": ("ip link set ens1 nomaster", "ens1 is not a port of br0"),
    "an address is put back": (
        "ip address add 198.51.100.1/24 dev ens1",
        "address 198.51.100.1/24 is on ens1",
    ),
    "an address is lost": ("ip address del 198.51.100.1/24 dev br0", "address 198.51.100.1/24 is missing"),
    "a route is lost": ("ip route del default", "route default via 198.51.100.9 is missing"),
    "the bridge is down": ("ip link set br0 down", "route default via 198.51.100.9 is missing"),
    "the bridge is gone": ("ip link delete br0", "bridge br0 is made anew"),
}


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("what", DAMAGES)
def test_what_others_did_is_named_and_repaired(what: str) -> None:
    script, named = DAMAGES[what]
    uplink.uplink("br0", "ens1")
    sh(script)

    drift = " ".join(change.why for change in fabric.drift("adhoc"))
    adhoc.reconcile("adhoc")

    assert named in drift
    assert fabric.drift("adhoc") == ()
    assert addresses("br0") == ["198.51.100.1/24"]
    assert addresses("ens1") == []
    assert "default via 198.51.100.9 dev br0" in sh("ip route")


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("what", DAMAGES)
def test_what_others_did_does_not_keep_the_nic_from_its_own(what: str) -> None:
    told = everything()
    uplink.uplink("br0", "ens1")
    sh(DAMAGES[what][0])

    uplink.detach("br0", "ens1")

    becomes(told)


def _begin(where: Where = HERE) -> None:
    uplink.uplink("br0", "ens1", where)


def _end(where: Where = HERE) -> None:
    uplink.detach("br0", "ens1", where=where)


@pytest.mark.parametrize(("job", "first"), [(_begin, lambda: None), (_end, _begin)])
def test_a_kill_at_any_step_loses_nothing(
    job: Callable[[Where], None], first: Callable[[], None], record_property: Callable[[str, object], None]
) -> None:
    step, killed = 0, True
    while killed:
        step += 1
        with throwaway():
            sh(MACHINE + BELONGINGS)
            told = everything()
            first()
            killed = is_killed(step, job)
            uplink.detach("br0", "ens1")
            becomes(told, step)
    record_property("crash points", step - 1)
    assert step > 20


@pytest.mark.usefixtures("machine")
def test_a_lost_store_hinders_neither_destroy_nor_what_the_nic_gets_back() -> None:
    told = everything()
    apply()
    shutil.rmtree("/var/lib/netfab")
    shutil.rmtree("/run/netfab")

    fabric.destroy("shop")

    becomes(told)


@pytest.mark.usefixtures("machine")
def test_a_topology_gives_its_bridge_a_nic_and_gives_it_back_on_destroy() -> None:
    told = everything()
    apply()
    again = apply()[1].changes
    shown = addresses("br-lan")
    reached = [
        reaches(*way)
        for way in (
            ("shop.web", "198.51.100.9"),
            ("shop.web", "198.51.100.1"),
            ("lan", "198.51.100.2"),
            ("shop.db", "198.51.100.9"),
            ("", "198.51.100.9"),
        )
    ]
    apart = is_kept_from("shop.db", "198.51.100.2") and is_kept_from("shop.web", "10.0.0.2")
    fabric.destroy("shop")

    assert again == ()
    assert shown == ["198.51.100.1/24"]
    assert reached == [True] * 5
    assert apart
    becomes(told)


@pytest.mark.usefixtures("machine")
def test_a_host_that_passed_packets_on_by_its_nic_does_so_by_the_bridge_and_no_other() -> None:
    sh("""sysctl -qw net.ipv4.conf.all.forwarding=1
          ip link add vm0 type veth peer name eth0 netns blue
          ip link set vm0 up; ip address add 10.77.0.1/24 dev vm0
          ip -n blue link set eth0 up; ip -n blue address add 10.77.0.2/24 dev eth0
          ip -n blue route add default via 10.77.0.1
          ip -n lan route add 10.77.0.0/24 via 198.51.100.1""")
    before = reaches("blue", "198.51.100.9"), reaches("lan", "10.77.0.2")

    apply(FILE.replace("  back: {}\n", "").replace("  db: {networks: [back]}\n", ""))

    assert before == (True, True)
    assert reaches("blue", "198.51.100.9")
    assert reaches("lan", "10.77.0.2")


@pytest.mark.usefixtures("machine")
def test_a_way_out_that_we_made_lets_the_lan_pass_to_nothing_foreign() -> None:
    sh("""ip link add vm0 type veth peer name eth0 netns blue
          ip link set vm0 up; ip address add 10.77.0.1/24 dev vm0
          ip -n blue link set eth0 up; ip -n blue address add 10.77.0.2/24 dev eth0
          ip -n blue route add default via 10.77.0.1
          sysctl -qw net.ipv4.conf.vm0.forwarding=1
          ip -n lan route add 10.77.0.0/24 via 198.51.100.1""")

    apply()

    assert reaches("shop.db", "198.51.100.9")
    assert is_kept_from("lan", "10.77.0.2")


@pytest.mark.usefixtures("machine")
def test_a_network_with_a_subnet_of_its_own_on_the_lan_goes_out_under_the_hosts_address() -> None:
    apply("name: shop\nnetworks: {lan: {uplink: ens1}}\nnodes: {web: {networks: [lan]}}\n")

    assert sorted(addresses("br-lan")) == ["10.0.0.1/24", "198.51.100.1/24"]
    assert reaches("shop.web", "198.51.100.9")


REFUSALS = {
    "what is not there": ("", "br0", "ens9", "this host has no NIC ens9"),
    "lo": ("", "br0", "lo", "`lo` is a name that the kernel uses itself"),
    "a bridge": ("ip link add br7 type bridge", "br0", "br7", "br7 can't be an uplink: it is a bridge"),
    "a port of another bridge": (
        "ip link add br7 type bridge; ip link set ens1 master br7",
        "br0",
        "ens1",
        "ens1 is a port of br7",
    ),
    "a NIC with a macvlan": (
        "ip link add mv0 link ens1 type macvlan",
        "br0",
        "ens1",
        "ens1 has the macvlan mv0 on it",
    ),
    "no Ethernet": ("ip tuntap add tun7 mode tun", "br0", "tun7", "tun7 is not Ethernet"),
    "a bridge of Open vSwitch": ("", "ovs0", "ens1", "ovs0 is a bridge of Open vSwitch, to which"),
    "no bridge": ("", "lan0", "ens1", "there is no bridge lan0 on this host"),
    "a bridge that is down": ("ip link add br9 type bridge", "br9", "ens1", "br9 is down"),
    "a bridge that listens first": (
        "ip link add br9 type bridge stp_state 1; ip link set br9 up",
        "br9",
        "ens1",
        "br9 has spanning tree on",
    ),
}


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("what", REFUSALS)
def test_what_can_not_be_lent_is_refused_by_name_before_anything_is_made(what: str) -> None:
    script, bridge, nic, told = REFUSALS[what]
    sh(script or ":")
    before = everything()

    with pytest.raises(NetfabError) as caught:
        uplink.uplink(bridge, nic)

    assert str(caught.value).startswith(told)
    assert everything() == before


@pytest.mark.usefixtures("machine")
def test_two_uplinks_of_one_bridge_and_two_bridges_of_one_nic_are_refused() -> None:
    sh("ip link add ens2 type veth peer name far2 netns lan; ip link set ens2 up")
    uplink.uplink("br0", "ens1")

    with pytest.raises(NetfabError, match="br0 has the uplink ens1"):
        uplink.uplink("br0", "ens2")
    with pytest.raises(NetfabError, match="ens1 is the uplink of br0"):
        uplink.uplink("br1", "ens1")


@pytest.mark.usefixtures("machine")
def test_a_nic_of_one_fabric_is_no_other_ones_and_a_files_bridge_is_the_files() -> None:
    apply()

    with pytest.raises(NetfabError, match="ens1 can't be an uplink: it is in use by fabric shop"):
        uplink.uplink("br0", "ens1")
    sh("ip link add ens2 type veth peer name far2 netns lan; ip link set ens2 up")
    with pytest.raises(NetfabError, match="br-back is network back of fabric shop"):
        uplink.uplink("br-back", "ens2")


@pytest.mark.usefixtures("machine")
def test_a_nic_with_the_name_of_a_vlan_is_lent_like_any() -> None:
    sh("ip link add ens1.30 type veth peer name far30 netns lan; ip link set ens1.30 up")
    sh("ip address add 203.0.113.1/24 dev ens1.30; ip -n lan link set far30 up")
    sh("ip -n lan address add 203.0.113.9/24 dev far30")

    uplink.uplink("br0", "ens1.30")
    reached = reaches("lan", "203.0.113.1")
    uplink.detach("br0", "ens1.30")

    assert reached
    assert addresses("ens1.30") == ["203.0.113.1/24"]
