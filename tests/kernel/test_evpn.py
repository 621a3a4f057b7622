"""`control: evpn` over simulated hosts: FRR's own zebra and bgpd, and what comes of them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kills import is_killed
from machine import differences, snapshot
from simulated_hosts import Hosts, fleet, read
from test_overlay import PATIENCE, ping, ping_address, send_arp, vni, wait_until, wire

from netfab import fabric
from netfab.engine import apply as engine
from netfab.errors import NetfabError, NoAnswer
from netfab.hosts import bgp, simulated
from netfab.hosts.bgp import Speaker
from netfab.hosts.local import LocalHost
from netfab.kernel.waiting import wait_until_it_works
from netfab.objects.base import Fabric
from netfab.objects.bgp import DAEMONS, Bgp
from netfab.objects.bgp_peer import BgpPeer
from netfab.objects.bridge import Bridge
from netfab.objects.bridge_fdb import BridgeFdb
from netfab.objects.container import Container
from netfab.objects.namespace import Namespace
from netfab.objects.neighbour import Neighbour
from netfab.objects.port import Port
from netfab.objects.supervisor import Supervisor
from netfab.objects.veth import Veth
from netfab.objects.vxlan import Vxlan
from netfab.objects.vxlan_fdb import VxlanFdb
from netfab.plan.facts import Device, Facts, Frr
from netfab.plan.placement import plan_hosts
from netfab.runtime import status
from netfab.runtime.paths import RUN_DIRECTORY, Paths
from netfab.where import HERE, Where

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

    beside = "networks: {other: {hosts: [h1, h2]}, lan:"
    with begun(fleet(3, network=BY_BGP).replace("networks: {lan:", beside)) as hosts:
        known = {hosts.address(node) for node in ("n1", "n2", "n3")}
        for host in ("h1", "h2", "h3"):
            wait_until(lambda host=host: known <= set(hosts.run(host, "ip", "neighbour", "show").split()))
        wait_until(lambda: flooded_to(hosts, "h1") == {"192.0.2.2", "192.0.2.3"})
        with wire("h1") as frames:
            for other in ("n2", "n3"):
                assert ping(hosts, "n1", other)
            assert ping_address(hosts, "n1", str(hosts.plan("n2").layout.segments["lan"].hosts["h2"][0].ip))
            send_arp(hosts, "n1", "10.0.0.250")
            assert ping(hosts, "n1", "n2")
            seen = frames()
        echoes = [f for f in seen if ICMP in f[VXLAN]]
        asked_for = Counter((f[VXLAN][ARP].pdst, f[IP].dst) for f in seen if ARP in f[VXLAN])

        assert {(f[UDP].dport, f[VXLAN].vni) for f in echoes} == {(4789, vni(hosts))}
        assert {f[IP].dst for f in echoes} == {"192.0.2.1", "192.0.2.2", "192.0.2.3"}
        nobody = {pair: n for pair, n in asked_for.items() if pair[0] == "10.0.0.250"}
        assert nobody == {("10.0.0.250", "192.0.2.2"): 1, ("10.0.0.250", "192.0.2.3"): 1}
        assert not known & {wanted for wanted, _ in asked_for}
        with simulated.inside("h1"), LocalHost("lab") as there:
            static = [one.link.text for one in there.observe("lab").own.values() if isinstance(one, VxlanFdb)]
        other = hosts.plan("n1").layout.segments["other"].tunnel
        assert other is not None
        assert set(static) == {other.device}
        assert "extern_learn" not in hosts.run("h1", "bridge", "fdb", "show", "dev", other.device)
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
        wait_until(lambda: flooded_to(hosts, "h2") == {"192.0.2.1", "192.0.2.3"})


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


def planned_for_h1() -> list[Any]:
    topology = read(fleet(3, network=BY_BGP))
    frr = Frr("/usr/lib/frr", runs=False)
    known = {
        name: Facts(devices=(Device("eth0", 1500, (host.address,)),), frr=frr)
        for name, host in topology.hosts.items()
        if host.address
    }
    return list(plan_hosts(topology, (), known, dict.fromkeys(known, RUN_DIRECTORY))["h1"].fabric.values())


def of_one_host() -> tuple[Fabric, Fabric]:
    """What FRR of one host is and is told; and with another peer and another network."""
    planned = planned_for_h1()
    things = [thing for thing in planned if isinstance(thing, Bgp | BgpPeer | Supervisor)]
    things += [t._replace(uses=()) for t in planned if isinstance(t, Container)]
    peers = [thing for thing in things if isinstance(thing, BgpPeer)]
    (bgp,) = (thing for thing in things if isinstance(thing, Bgp))
    fewer = tuple(statement for statement in bgp.statements if "extcommunity-list" not in statement[0])
    changed = [bgp._replace(statements=fewer), *(t for t in things if t not in (bgp, peers[0]))]
    return Fabric("lab", things), Fabric("lab", changed)


def test_what_frr_is_told_reads_back_and_is_made_good_wherever_a_command_was_killed(
    record_property: Callable[[str, object], None],
) -> None:
    before, after = of_one_host()
    subprocess.run(["ip", "address", "add", "192.0.2.1/32", "dev", "lo"], check=True)
    empty, nothing = snapshot(), Fabric("lab")

    def make(wanted: Fabric) -> Callable[[Where], None]:
        def job(where: Where) -> None:
            with LocalHost("lab", hook=where.hook) as host:
                engine.apply(wanted, host, [before])

        return job

    def is_there(wanted: Fabric) -> bool:
        with LocalHost("lab") as host:
            return host.observe("lab", [before]).own == wanted

    swept = 0
    for first, killed in ((nothing, before), (before, after), (before, nothing)):
        step = 1
        make(first)(HERE)
        while is_killed(step, make(killed)):
            make(killed)(HERE)
            assert is_there(killed), step
            make(first)(HERE)
            assert is_there(first), step
            swept, step = swept + 1, step + 1
    make(nothing)(HERE)
    assert differences(empty, snapshot()) == []
    record_property("crash points", swept)


def test_what_bgpd_does_not_take_is_told_in_its_words_and_undone() -> None:
    before, _ = of_one_host()
    (bgp,) = (thing for thing in before.values() if isinstance(thing, Bgp))
    wrong = Fabric("lab", [*before.values(), bgp._replace(statements=(("bgp nonsense",),))])
    subprocess.run(["ip", "address", "add", "192.0.2.1/32", "dev", "lo"], check=True)
    empty = snapshot()

    with LocalHost("lab") as host, pytest.raises(NetfabError, match="bgpd refuses `bgp nonsense`"):
        engine.apply(wrong, host)

    assert differences(empty, snapshot()) == []


UNDERLAY = """
    ip link add eth0 address 02:00:00:00:00:01 up type veth peer name wire; ip link set wire up
    ip address add 192.0.2.1/24 dev eth0; ip neigh add 192.0.2.2 dev eth0 lladdr 02:00:00:00:00:02
"""


def test_a_node_that_starts_is_announced_through_the_tunnel_for_those_who_ask_elsewhere() -> None:
    subprocess.run(["sh", "-ec", UNDERLAY], check=True)
    assert wait_until_it_works("eth0", PATIENCE)
    kinds = Bridge | Vxlan | Port | Namespace | Veth | BridgeFdb | Neighbour
    there = Fabric("lab", [thing for thing in planned_for_h1() if isinstance(thing, kinds)])
    node = next(thing for thing in there.values() if isinstance(thing, Neighbour))
    (tunnel,) = (thing for thing in there.values() if isinstance(thing, Vxlan))
    before = Fabric("lab", [thing for thing in there.values() if thing != node])
    with LocalHost("lab") as host, socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x300) as wire:
        engine.apply(before, host)
        peer = (
            "append",
            "00:00:00:00:00:00",
            "dev",
            tunnel.end.link.text,
            "dst",
            "192.0.2.2",
            "extern_learn",
        )
        subprocess.run(["bridge", "fdb", *peer], check=True)  # as FRR does
        wire.bind(("wire", 0x0003))

        host.announce(there, engine.apply(there, host).changes)

        gratuitous = bytes.fromhex(f"ffffffffffff {node.mac} 0806".replace(":", ""))
        wait_until(lambda: wire.recv(200)[50:64] == gratuitous)


def test_a_symlink_at_bgpds_door_leads_to_no_socket_of_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = Paths("f", str(tmp_path), str(tmp_path))
    Path(paths.record(DAEMONS)).parent.mkdir(parents=True)
    Path(paths.record(DAEMONS)).touch()
    (tmp_path / "root/run/frr").mkdir(parents=True)
    (tmp_path / "root/run/frr/bgpd.vty").symlink_to(tmp_path / "host.sock")
    monkeypatch.setattr(status, "status_of", lambda *_: SimpleNamespace(pid=bgpd.pid))

    with socket.socket(socket.AF_UNIX) as of_host, rooted_in(str(tmp_path / "root")) as bgpd:
        of_host.bind(str(tmp_path / "host.sock"))
        of_host.listen()
        of_host.setblocking(False)

        assert Speaker(paths, lambda: None, print).read() == ""
        with pytest.raises(BlockingIOError):
            of_host.accept()


def test_a_bgpd_that_is_silent_is_not_one_without_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = tmp_path / "root/run/frr/bgpd.vty"
    door.parent.mkdir(parents=True)
    paths = Paths("f", str(tmp_path), str(tmp_path))
    Path(paths.record(DAEMONS)).parent.mkdir(parents=True)
    Path(paths.record(DAEMONS)).touch()
    monkeypatch.setattr(status, "status_of", lambda *_: SimpleNamespace(pid=bgpd.pid))
    monkeypatch.setattr(bgp, "_ANSWER", 0.1)

    with socket.socket(socket.AF_UNIX) as silent, rooted_in(str(tmp_path / "root")) as bgpd:
        silent.bind(str(door))
        silent.listen()
        with LocalHost("f", str(tmp_path), state_directory=str(tmp_path)) as host:
            with pytest.raises(NoAnswer, match="bgpd of fabric f gives no answer"):
                host.observe("f", (Fabric("f", [Bgp("f", ())]),))

            own = host.observe("f", (Fabric("f"),)).own.values()
            assert not [thing for thing in own if isinstance(thing, Bgp)]


def test_an_answer_of_bgpd_that_does_not_end_is_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bgp, "_MOST", 1000)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"x" * 2000)
        theirs.shutdown(socket.SHUT_WR)

        with pytest.raises(OSError, match="bgpd does not end its answer to `enable`"):
            bgp._ask(ours, "enable")


@contextmanager
def rooted_in(root: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose root that is."""
    words = "import os, sys; os.chroot(sys.argv[1]); print(flush=True); sys.stdin.read()"
    argv = [sys.executable, "-S", "-c", words, root]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield process
