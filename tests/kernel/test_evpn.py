"""`control: evpn` over simulated hosts: FRR's own zebra and bgpd, and what comes of them."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from simulated_hosts import Hosts, fleet
from test_overlay import ping, ping_address, send_arp, vni, wait_until, wire

from netfab import fabric
from netfab.hosts import simulated
from netfab.hosts.local import LocalHost
from netfab.objects.bgp import DAEMONS
from netfab.objects.vxlan_fdb import VxlanFdb

BY_BGP = "{vxlan: {control: evpn}}"


@contextmanager
def begun(text: str) -> Iterator[Hosts]:
    hosts = Hosts(text)
    try:
        yield hosts
    finally:
        hosts.destroy()
        hosts.close()


def told(hosts: Hosts, host: str, *commands: str) -> str:
    """What bgpd of that host says to commands of somebody who is not netfab."""
    (pid,) = (one["pid"] for one in programs(host) if one["node"] == DAEMONS)
    words = [word for command in commands for word in ("-c", command)]
    return hosts.run(host, "vtysh", "--vty_socket", f"/proc/{pid}/root/run/frr", "-d", "bgpd", *words)


def programs(host: str) -> list[dict[str, Any]]:
    with simulated.inside(host):
        return fabric.programs()


def sessions(hosts: Hosts, host: str) -> dict[str, tuple[str, int]]:
    """By the peer's address: the state, and how often one was lost."""
    peers = json.loads(told(hosts, host, "show bgp l2vpn evpn summary json"))["peers"]
    return {address: (peer["state"], peer["connectionsDropped"]) for address, peer in peers.items()}


def drift(host: str) -> list[str]:
    with simulated.inside(host):
        return [str(change.object) for change in fabric.drift("lab")]


def flooded_to(hosts: Hosts, host: str) -> set[str]:
    """To whom a host's tunnel sends what is for everybody."""
    tunnels = hosts.run(host, "bridge", "-j", "fdb", "show", "dev", f"vx{vni(hosts)}")
    return {e["dst"] for e in json.loads(tunnels) if e["mac"] == "00:00:00:00:00:00"}


def test_hosts_tell_each_other_who_is_where() -> None:
    from scapy.layers.inet import ICMP, IP, UDP
    from scapy.layers.l2 import ARP
    from scapy.layers.vxlan import VXLAN

    with begun(fleet(3, network=BY_BGP)) as hosts:
        with wire("h1") as frames:
            for other in ("n2", "n3"):
                assert ping(hosts, "n1", other)
            assert ping_address(hosts, "n1", str(hosts.plan("n2").layout.segments["lan"].hosts["h2"][0].ip))
            send_arp(hosts, "n1", "10.0.0.250")
            assert ping(hosts, "n1", "n2")
            seen = frames()
        echoes = [f for f in seen if ICMP in f[VXLAN]]
        asked_for = Counter((f[VXLAN][ARP].pdst, f[IP].dst) for f in seen if ARP in f[VXLAN])

        assert {(f[UDP].dport, f[VXLAN].vni) for f in seen} == {(4789, vni(hosts))}
        assert {f[IP].dst for f in echoes} == {"192.0.2.1", "192.0.2.2", "192.0.2.3"}
        nobody = {pair: n for pair, n in asked_for.items() if pair[0] == "10.0.0.250"}
        assert nobody == {("10.0.0.250", "192.0.2.2"): 1, ("10.0.0.250", "192.0.2.3"): 1}
        known = {hosts.address(node) for node in ("n1", "n2", "n3")}
        assert not known & {wanted for wanted, _ in asked_for}
        with simulated.inside("h1"), LocalHost("lab") as there:
            assert not [one for one in there.observe("lab").own.values() if isinstance(one, VxlanFdb)]
        assert drift("h1") == drift("h2") == []


def test_a_node_that_moved_is_reached_and_sessions_last_while_hosts_come_and_go() -> None:
    more, dealt = "mover: {networks: [lan], runs_on: %s}", ("[h1, h2, h3]", "[h1, h2]")
    file = fleet(3, network=BY_BGP, more=more).replace("n1..3", "n1..2").replace(*dealt)
    with begun(file % "h1") as hosts:
        assert ping(hosts, "n2", "mover")
        hosts.apply(file % "h2")
        for node in ("n1", "n2"):
            assert ping(hosts, node, "mover")

        hosts.apply(file % "h3")
        for node in ("n1", "n2"):
            assert ping(hosts, node, "mover")
        assert sessions(hosts, "h1") == {
            "192.0.2.2": ("Established", 0),
            "192.0.2.3": ("Established", 0),
        }

        hosts.apply(file.replace(more, ""))
        wait_until(lambda: flooded_to(hosts, "h1") == {"192.0.2.2"})
        assert sessions(hosts, "h1") == {"192.0.2.2": ("Established", 0)}
        assert programs("h3") == []
        assert drift("h1") == []


def test_reflectors_pass_on_what_the_others_say() -> None:
    text = fleet(3, network=BY_BGP).replace("192.0.2.1}", "192.0.2.1, reflector: true}")
    with begun(text) as hosts:
        assert ping(hosts, "n2", "n3")
        assert set(sessions(hosts, "h2")) == {"192.0.2.1"}
        assert flooded_to(hosts, "h2") == {"192.0.2.1", "192.0.2.3"}


def test_what_others_tell_bgpd_is_drift_and_one_that_was_killed_comes_back_as_it_was() -> None:
    with begun(fleet(2, network=BY_BGP)) as hosts:
        router = ("configure terminal", "router bgp 64512")
        told(hosts, "h1", *router, "neighbor 192.0.2.2 description x", "neighbor 192.0.2.99 remote-as 64512")
        assert drift("h1") == ["bgp peer 192.0.2.2", "bgp peer 192.0.2.99"]
        with simulated.inside("h1"):
            fabric.reconcile("lab")
        assert drift("h1") == []

        (before,) = programs("h1")
        os.kill(before["pid"], signal.SIGKILL)
        wait_until(lambda: programs("h1")[0]["pid"] not in (0, None, before["pid"]))
        wait_until(lambda: drift("h1") == [])
        wait_until(lambda: flooded_to(hosts, "h1") == {"192.0.2.2"})
        wait_until(lambda: flooded_to(hosts, "h2") == {"192.0.2.1"})
        assert ping(hosts, "n1", "n2")


@pytest.mark.parametrize(("one", "other"), [("static", "evpn"), ("evpn", "multicast")])
def test_a_network_gets_another_control_and_nothing_of_the_former_is_left(one: str, other: str) -> None:
    network = "{vxlan: {control: %s}}"
    with begun(fleet(2, network=network % one)) as hosts:
        hosts.apply(fleet(2, network=network % other))

        assert ping(hosts, "n1", "n2")
        assert drift("h1") == []
        entries = hosts.run("h1", "bridge", "fdb", "show") + hosts.run("h1", "ip", "neighbour", "show")
        assert ("extern_learn" in entries) == (other == "evpn")
        assert bool(programs("h1")) == (other == "evpn")


def test_destroy_leaves_nothing_of_frr() -> None:
    with begun(fleet(2, network=BY_BGP)) as hosts:
        before = hosts.run("h1", "ip", "-4", "route", "show", "table", "all", "dev", "eth0")
        pid = programs("h1")[0]["pid"]

        with simulated.inside("h1"):
            fabric.destroy("lab")

        assert not os.path.exists(f"/proc/{pid}")
        assert hosts.run("h1", "find", "/run", "-not", "-type", "d") == ""
        assert hosts.run("h1", "ip", "-4", "route", "show", "table", "all", "dev", "eth0") == before
        assert "proto zebra" not in hosts.run("h1", "ip", "neighbour", "show")
