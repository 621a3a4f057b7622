"""Damage done behind our back, for every kind: named, repaired, and what was damaged is destroyed whole."""

from __future__ import annotations

import os
import subprocess
from ipaddress import ip_address, ip_network

import pytest
from examples import (
    DB_ETH1,
    FABRIC,
    FILE,
    GROUP,
    WEB,
    WEB_ETH0,
    address,
    bridge,
    cable,
    fabric,
    namespace,
    port,
    route,
    veth,
)
from machine import differences, snapshot

from netfab.engine.apply import apply, changes_for
from netfab.engine.diff import Change
from netfab.hosts.local import LocalHost
from netfab.objects.address import address_name
from netfab.objects.file import File
from netfab.objects.link import Settings, scratch_of
from netfab.objects.route import DEFAULT_METRIC6, Hop, Route
from netfab.objects.sysctl import Sysctl
from netfab.store.public import withdraw

ROUTE6 = Route(WEB, ip_network("::/0"), (Hop(ip_address("fd00::1"), WEB_ETH0),), DEFAULT_METRIC6,
               (address_name(WEB_ETH0, ip_address("fd00::2"), 64),))  # fmt: skip
WHOLE = fabric(
    namespace(),
    namespace("db"),
    Sysctl(WEB, "net/ipv4/ip_default_ttl", "9"),
    bridge(),
    veth(b=veth().b._replace(settings=Settings(forwarding=True))),
    cable(),
    port(),
    address("10.0.0.1/24", bridge().link),
    address(),
    address("fd00::2/64"),
    address("10.3.0.1/31", DB_ETH1),
    route(),
    ROUTE6,
    File(FILE, "10.0.0.1 web\n"),
)
WEB_IP, DB_IP = f"ip -n {FABRIC}.web", f"ip -n {FABRIC}.db"
IN_WEB, IN_DB = f"ip netns exec {FABRIC}.web", f"ip netns exec {FABRIC}.db"
VETH, CABLE = "veth eth0 of web", "veth eth1 of db - eth1 of web"
FOUR, SIX = (
    "route default via 10.0.0.1 dev eth0 in web",
    "route default via fd00::1 dev eth0 in web",
)
ON_ETH0 = "address 10.0.0.2/24 on eth0 of web"
ON_ETH0_6 = "address fd00::2/64 on eth0 of web"
SYSCTL = "sysctl net/ipv4/ip_default_ttl of web"
DAMAGE = [
    ("ip link set br0 down", ["update bridge br0: down -> up"]),
    ("ip link set nfweb down", [f"update {VETH}: nfweb down -> up"]),
    (
        f"{WEB_IP} link set eth0 down",
        [f"update {VETH}: down -> up", f"create {FOUR}", f"create {SIX}"],
    ),
    (
        f"ip link set nfweb down; {WEB_IP} link set eth0 down",
        [f"update {VETH}: nfweb down -> up, down -> up", f"create {FOUR}"],
    ),
    (f"{DB_IP} link set eth1 down", [f"update {CABLE}: eth1 of db down -> up"]),
    (f"{WEB_IP} link set lo down", ["update namespace shop.web: lo down -> up"]),
    (
        "ip link set br0 address 02:00:00:00:00:77",
        ["update bridge br0: MAC 02:00:00:00:00:77 -> 02:00:00:00:00:01"],
    ),
    (
        "ip link set nfweb address 02:00:00:00:00:78",
        [f"update {VETH}: nfweb MAC 02:00:00:00:00:78 -> 02:00:00:00:01:01"],
    ),
    (f"{WEB_IP} link set eth0 address 02:00:00:00:00:79", [f"update {VETH}: MAC"]),
    ("ip link set br0 mtu 1400", ["update bridge br0: mtu 1400 -> 1500"]),
    ("ip link set nfweb mtu 1400", [f"update {VETH}: nfweb mtu 1400 -> 1500"]),
    (f"{WEB_IP} link set eth0 mtu 1000", [f"update {VETH}: mtu 1000 -> 1500", f"create {ON_ETH0_6}"]),
    (f"ip link set br0 group {scratch_of(GROUP)}", ["update bridge br0: mark"]),
    (f"ip link set nfweb group {scratch_of(GROUP)}", [f"update {VETH}: mark"]),
    (f"{WEB_IP} link set eth0 group default", [f"update {VETH}: mark 0"]),
    (f"{DB_IP} link set eth1 group 7", [f"update {CABLE}: mark 7"]),
    ("ip link set nfweb nomaster", ["create port nfweb"]),
    ("bridge link set dev nfweb isolated on", ["update port nfweb: isolated on -> off"]),
    ("bridge link set dev nfweb hairpin on", ["update port nfweb: hairpin on -> off"]),
    (
        "ip link set br0 type bridge stp_state 1",
        ["update bridge br0: forward delay 200 -> 0, spanning tree on -> off"],
    ),
    ("ip link set br0 type bridge mcast_snooping 1", ["update bridge br0: multicast snooping on -> off"]),
    ("ip link set br0 type bridge forward_delay 700", ["update bridge br0: forward delay 700 -> 0"]),
    ("ip addr flush dev br0", ["create address 10.0.0.1/24 on br0"]),
    (f"{WEB_IP} addr del 10.0.0.2/24 dev eth0", [f"create {ON_ETH0}", f"create {FOUR}"]),
    (f"{WEB_IP} -6 addr flush dev eth0", [f"create {ON_ETH0_6}"]),
    (f"{WEB_IP} route del default", [f"create {FOUR}"]),
    (f"{WEB_IP} -6 route del default", [f"create {SIX}"]),
    (f"{WEB_IP} route change default via 10.0.0.9 proto 110", ["update route default via 10.0.0.1 dev eth0"]),
    (f"{IN_WEB} sysctl -qw net.ipv4.ip_default_ttl=77", [f"update {SYSCTL}: 77 -> 9"]),
    (
        f"{IN_WEB} sysctl -qw net.ipv4.conf.eth0.forwarding=0",
        [f"update {VETH}: forwarding off -> on"],
    ),
    (f"{IN_WEB} sysctl -qw net.ipv4.conf.eth0.rp_filter=1", [f"update {VETH}: rp_filter 1 -> 0"]),
    (
        f"{IN_WEB} sysctl -qw net.ipv6.conf.eth0.accept_ra=1",
        [f"update {VETH}: accept_ra on -> off"],
    ),
    (
        f"{IN_DB} sysctl -qw net.ipv6.conf.eth1.accept_ra=0",
        [f"update {CABLE}: eth1 of db accept_ra off -> on"],
    ),
    (
        "sysctl -qw net.ipv4.conf.br0.promote_secondaries=0",
        ["update bridge br0: promote_secondaries"],
    ),
    (
        f"{IN_WEB} sysctl -qw net.ipv6.conf.eth0.accept_redirects=1",
        [f"update {VETH}: accept_redirects on -> off"],
    ),
    (
        "sysctl -qw net.ipv6.conf.br0.accept_redirects=1",
        ["update bridge br0: accept_redirects on -> off"],
    ),
    ("sysctl -qw net.ipv6.conf.br0.accept_ra=2", ["update bridge br0: accept_ra on -> off"]),
    (f"echo 10.6.6.6 evil >> {FILE}", [f"update file {FILE}: content"]),
    (f"printf '10.0.0.1 web\\r\\n' > {FILE}", [f"update file {FILE}: content"]),
    (f"head -c 99 /dev/urandom > {FILE}", [f"update file {FILE}: content"]),
    (f"chmod 666 {FILE}", [f"update file {FILE}: mode"]),
    (f"rm {FILE}", [f"create file {FILE}"]),
    (f"rm -r /run/netfab/{FABRIC}", [f"create file {FILE}"]),
    (f"touch {FILE}.stray", [f"delete file {FILE}.stray"]),
    ("ip link del br0", ["create bridge br0", "create port nfweb", "create address 10.0.0.1/24 on br0"]),
    ("ip link del nfweb", [f"create {VETH}", "create port nfweb", f"create {ON_ETH0}", f"create {FOUR}"]),
    (f"{WEB_IP} link del eth1", [f"create {CABLE}", "create address 10.3.0.1/31 on eth1 of db"]),
    (
        f"ip netns del {FABRIC}.web",
        ["create namespace shop.web", f"create {VETH}", f"create {CABLE}", f"create {SYSCTL}"],
    ),
    (
        f"ip netns del {FABRIC}.web; ip netns del {FABRIC}.db",
        ["create namespace shop.web", "create namespace shop.db"],
    ),
    (f"{WEB_IP} link set eth0 netns {FABRIC}.db", [f"create {VETH}", f"create {ON_ETH0}"]),
    (f"{WEB_IP} link set eth0 netns $PPID", [f"create {VETH}", f"create {ON_ETH0}"]),
    (f"{WEB_IP} link set eth1 netns $PPID", [f"create {CABLE}"]),
    (f"ip link set nfweb netns {FABRIC}.db", [f"create {VETH}", "create port nfweb"]),
    (f"ip link set nfweb netns {FABRIC}.web", [f"create {VETH}", "create port nfweb"]),
    ("ip link set nfweb name nfmoved", ["create port nfweb", f"create {VETH}", "delete veth eth0 of web"]),
    (f"{WEB_IP} link set eth0 name lan0", [f"create {VETH}", f"create {ON_ETH0}"]),
    (
        "ip link set br0 name br7",
        ["create bridge br0", "delete bridge br7", "update port nfweb: bridge br7 -> br0"],
    ),
]


def shell(script: str) -> None:
    subprocess.run(["sh", "-ec", script], check=True, env={"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})


def lines(changes: tuple[Change, ...]) -> list[str]:
    return [f"{change.action} {change.object}: {change.why}" for change in changes]


@pytest.mark.parametrize(("damage", "named"), DAMAGE, ids=[damage for damage, _ in DAMAGE])
def test_damage_is_named_repaired_and_destroyed_whole(host: LocalHost, damage: str, named: list[str]) -> None:
    before = snapshot()
    apply(WHOLE, host)

    shell(damage)
    drift = lines(changes_for(WHOLE, host.observe(FABRIC, [WHOLE])))
    assert [name for name in named if not any(line.startswith(name) for line in drift)] == [], drift

    apply(WHOLE, host)
    assert host.observe(FABRIC, [WHOLE]).own == WHOLE

    shell(damage)
    apply(fabric(), host, [WHOLE])
    withdraw("/run/netfab", FABRIC)
    assert differences(before, snapshot()) == []
