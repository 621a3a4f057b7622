"""What a test does in a node, and with its cables: one fabric for all, which each leaves as it was."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether

from netfab.errors import NetfabError
from netfab.testing import Fabric
from netfab.testing.line import Line
from netfab.testing.packets import scapy
from netfab.testing.programs import Failed

Factory = Callable[..., Fabric]

pytestmark = pytest.mark.netfab("""
    name: shop
    networks: {front: {gateway: r}, back: {gateway: r}}
    nodes: {r: {}, web: {networks: [front]}, db1..2: {networks: [back]}, peer: {}}
    links: [[r, peer]]
    """)


def test_a_program_runs_in_the_network_of_its_node(netfab_module: Fabric) -> None:
    result = netfab_module["web"].run("cat", "/proc/net/fib_trie")

    assert netfab_module["web"].ip() in result.out
    assert (result.rc, result.err) == (0, "")


def test_a_program_is_given_input_and_variables(netfab_module: Fabric) -> None:
    result = netfab_module["web"].run(
        "sh", "-c", "cat; echo $GREETING", input="in ", env={"GREETING": "hello"}
    )

    assert result.out == "in hello\n"


def test_a_program_that_fails_says_what_it_said(netfab_module: Fabric) -> None:
    with pytest.raises(Failed, match=r"(?s)web: sh .*exit status 3.*stderr:\nno luck"):
        netfab_module["web"].run("sh", "-c", "echo no luck >&2; exit 3")

    assert netfab_module["web"].fails("false").rc == 1


def test_what_is_to_fail_and_does_not_is_told(netfab_module: Fabric) -> None:
    with pytest.raises(Failed, match="was expected to fail"):
        netfab_module["web"].fails("true")


def test_what_a_program_that_is_killed_started_ends_with_it(netfab_module: Fabric) -> None:
    web = netfab_module["web"]
    forks = "(setsid sleep 4243 &); sleep 4243 & echo ready; wait"
    with web.popen("sh", "-c", forks) as program:
        program.wait_for("ready")
        assert len(web.run("pgrep", "-f", "^sleep 4243").out.split()) == 2

    assert web.fails("pgrep", "-f", "^sleep 4243").rc == 1


def test_a_program_that_hangs_is_ended(netfab_module: Fabric) -> None:
    with pytest.raises(Failed, match=r"still runs after 0\.1 s"):
        netfab_module["web"].run("sleep", "4242", timeout=0.1)

    netfab_module["web"].until("sh", "-c", "! grep -sq '[4]242' /proc/[0-9]*/cmdline")


def test_a_command_that_is_not_there_is_an_error_without_a_traceback(netfab_module: Fabric) -> None:
    with pytest.raises(NetfabError, match="no-such-command"):
        netfab_module["web"].run("no-such-command")


def test_what_a_program_prints_is_waited_for(netfab_module: Fabric) -> None:
    with netfab_module["web"].popen("sh", "-c", "echo ready 7; cat > /dev/null; sleep 1000") as program:
        assert program.wait_for(r"ready (\d)")[1] == "7"
        assert program.poll() is None

    assert program.poll() == -9


def test_a_program_that_ends_without_the_word_is_told_at_once(netfab_module: Fabric) -> None:
    with pytest.raises(Failed, match="ended and never said 'ready'"):
        netfab_module["web"].popen("true").wait_for("ready", within=30)


def test_a_program_that_is_tried_until_it_succeeds_keeps_no_descriptors(netfab_module: Fabric) -> None:
    web = netfab_module["web"]
    web.run("true")
    before = len(os.listdir("/proc/self/fd"))

    with pytest.raises(Failed, match="web: false: "):
        web.until("false", within=0.2)

    assert len(os.listdir("/proc/self/fd")) <= before + 2  # of the last one


def test_programs_that_ended_are_of_their_test_only(netfab_module: Fabric) -> None:
    web = netfab_module["web"]
    web.run("true")
    with web.popen("sleep", "1000") as sleeps:
        netfab_module.begins("the next one")
        assert netfab_module.programs == [sleeps]


def test_a_program_that_has_just_ended_may_be_told_to(
    netfab_module: Fabric, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody_listens(*_: object) -> None:
        raise BrokenPipeError

    with monkeypatch.context() as too_late, netfab_module["web"].popen("sleep", "1000") as program:
        too_late.setattr(Line, "tell", nobody_listens)
        program.terminate()
        too_late.undo()


def test_a_program_is_asked_to_end(netfab_module: Fabric) -> None:
    program = netfab_module["web"].popen(
        "sh", "-c", "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.01; done"
    )
    program.wait_for("up")

    program.terminate()

    assert program.wait().out == "up\nbye\n"
    assert program.poll() == 5


def test_a_command_is_tried_until_it_succeeds(netfab_module: Fabric, tmp_path: Path) -> None:
    flag = f"{tmp_path}/flag"

    result = netfab_module["web"].until("sh", "-c", f"test -e {flag} || ! touch {flag}")

    assert result.rc == 0


def test_nodes_find_each_other_by_name(netfab_module: Fabric) -> None:
    db = netfab_module["db1"]
    with db.serve_http(80, {"/": "hello\n"}):
        assert netfab_module["web"].http("db1")[:2] == (200, "hello\n")
        assert netfab_module["web"].http(db, "/else").status == 404
        assert netfab_module["web"].reaches(db, "tcp/80", via="r")

    with pytest.raises(ConnectionRefusedError):
        netfab_module["web"].http(db)


def test_a_datagram_comes_back(netfab_module: Fabric) -> None:
    with netfab_module["db1"].serve_echo(7), netfab_module["web"].udp("db1", 7) as datagrams:
        assert datagrams.echo(b"hello")


def test_an_echo_outlives_a_datagram_that_it_can_not_answer(netfab_module: Fabric) -> None:
    web, db = netfab_module["web"], netfab_module["db1"]
    with db.serve_echo(7), web.udp("db1", 7) as datagrams:
        web.send(IP(dst=db.ip()) / UDP(sport=0, dport=7) / b"to nobody")

        assert datagrams.echo(b"hello")


def test_the_port_of_a_server_that_has_ended_is_free(netfab_module: Fabric) -> None:
    for _ in range(40):
        with netfab_module["db1"].serve_echo(7):
            pass


def test_a_socket_is_in_its_node(netfab_module: Fabric) -> None:
    web, db = netfab_module["web"], netfab_module["db1"]
    with db.socket() as server, web.socket() as client:
        server.bind((db.ip("back"), 9))
        server.listen()
        client.connect((db.ip(), 9))

        assert server.accept()[1][0] == web.ip("front")


def test_who_is_refused_the_port_of_another_is_told(netfab_module: Fabric) -> None:
    with netfab_module["db1"].serve_echo(7), pytest.raises(NetfabError, match="port 7 in db1: Address"):
        netfab_module["db1"].serve_http(7)


def test_an_echo_is_answered_by_the_far_side(netfab_module: Fabric) -> None:
    assert 0 < netfab_module["web"].ping("db2") < 1


def test_routes_are_those_of_the_node(netfab_module: Fabric) -> None:
    r = netfab_module["r"].ip("front")

    assert netfab_module["web"].routes() == [f"default via {r} dev eth0"]


def test_a_pulled_cable_keeps_addresses_and_routes(netfab_module: Fabric) -> None:
    web, routes = netfab_module["web"], netfab_module["web"].routes()
    with netfab_module.link("web", "front").down():
        assert web.cannot_reach("db1")
        assert web.routes() == routes

    assert web.reaches("db1", within=1)


def test_a_cable_between_two_nodes_is_pulled_and_plugged_in(netfab_module: Fabric) -> None:
    peer = netfab_module["peer"]
    with netfab_module.link("peer", "r").down():
        assert peer.cannot_reach("web")

    assert peer.reaches("web", within=1)


def test_a_link_that_flapped_works(netfab_module: Fabric) -> None:
    netfab_module.link("db1", "back").flap(3)

    assert netfab_module["web"].reaches("db1", within=1)


def test_a_cable_that_flaps_takes_nothing_else_back(netfab_module: Fabric) -> None:
    web, cable = netfab_module["web"], netfab_module.link("peer", "r")
    with netfab_module.link("web", "front").drop("tcp dport 9"), netfab_module.isolate("db2"):
        cable.flap()
        assert netfab_module["peer"].reaches("db1", within=1)
        lost = [
            IP(dst=netfab_module["db1"].ip()) / TCP(dport=9, flags="S"),
            IP(dst=netfab_module["db2"].ip()) / TCP(dport=10, flags="S"),
        ]
        assert [web.sr1(packet, within=0.2) for packet in lost] == [None, None]

    assert web.reaches("db2", within=1)


def test_of_two_ways_the_one_that_is_plugged_in_is_used(netfab_factory: Factory) -> None:
    fabric = netfab_factory("nodes: {r1..4: {forward: true, loopback: true}}\nlinks: [{ring: [r1..4]}]\n")
    r1, routes = fabric["r1"], fabric["r1"].routes()

    with fabric.link("r1", "r2").down():
        fabric.link("r1", "r4").flap()
        assert r1.reaches("r3", via="r4", within=1)
        assert r1.routes() != routes

    assert r1.routes() == routes


def test_packets_are_made_by_hand_and_answered(netfab_module: Fabric) -> None:
    web, db = netfab_module["web"], netfab_module["db1"]
    echo = web.sr1(IP(dst=db.ip()) / ICMP(id=7))
    refused = web.sr1(IP(dst=db.ip()) / TCP(dport=9, flags="S"))
    who = web.sr1(Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(pdst=netfab_module["r"].ip("front")), "eth0")

    assert (echo[IP].src, echo[IP].dst, echo[ICMP].type) == (db.ip(), web.ip(), 0)
    assert refused[TCP].flags == "RA"
    assert who[ARP].psrc == netfab_module["r"].ip("front")
    assert web.sr1(IP(dst=db.ip(), ttl=1) / UDP(dport=9))[ICMP].type == 11


def test_packets_that_are_sent_arrive_and_what_can_not_be_sent_is_told(netfab_module: Fabric) -> None:
    web, db = netfab_module["web"], netfab_module["db1"]
    with db.capture("eth0", "udp port 9") as seen:
        web.send(IP(dst=db.ip(), ttl=[61, 62]) / UDP(sport=7, dport=9) / b"hello")

    assert [(packet[IP].src, packet[IP].ttl) for packet in seen.packets] == [(web.ip(), 60), (web.ip(), 61)]
    with pytest.raises(NetfabError, match="a frame needs its `dst`"):
        web.send(Ether() / IP(dst=db.ip()))
    with pytest.raises(NetfabError, match=r"can't be sent by itself"):
        web.send(UDP(dport=9))


def test_packets_without_scapy_say_what_to_install(
    netfab_module: Fabric, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "scapy.layers.inet6", None)

    with (
        netfab_module["web"].capture("eth0") as seen,
        pytest.raises(NetfabError, match="not installed") as raised,
    ):
        seen.count()

    assert raised.value.__cause__ is None, "nobody wants to read how Python looked for it"


def test_what_scapy_itself_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lacking.py").write_text("import nothing_of_that_name\n")
    monkeypatch.setattr("scapy.__path__", [str(tmp_path)])

    with pytest.raises(NetfabError, match="scapy needs nothing_of_that_name, which is not installed"):
        scapy("lacking")


def test_the_first_frames_that_match_are_lost(netfab_module: Fabric) -> None:
    web, link = netfab_module["web"], netfab_module.link("db1", "back")
    with link.drop("icmp type echo-request", count=2), netfab_module["db1"].capture("eth0", "icmp") as seen:
        for number in range(4):
            web.send(IP(dst=netfab_module["db1"].ip()) / ICMP(type=8, seq=number))
    assert [packet[ICMP].seq for packet in seen.packets if packet[ICMP].type == 8] == [2, 3]

    link.drop("icmp type echo-reply")
    assert web.cannot_reach("db1")
    link.reset()
    assert web.reaches("db1")
    with pytest.raises(NetfabError, match="`no such` can't be dropped: "):
        link.drop("no such")


def test_what_a_link_loses_is_healed(netfab_module: Fabric) -> None:
    netfab_module.link("peer", "r").drop("icmp type echo-request")
    assert netfab_module["r"].cannot_reach("peer")

    netfab_module.heal()

    assert netfab_module["r"].reaches("peer")


def test_a_rate_is_what_a_node_sends_until_it_is_put_back(netfab_factory: Factory) -> None:
    fabric = netfab_factory(
        "networks: {lan: {}}\nnodes: {a: {networks: {lan: {rate: 8mbit}}}, b: {networks: [lan]}}\n"
    )

    def rates() -> list[str]:
        shown = [fabric[node].run("tc", "qdisc", "show", "dev", "eth0").out for node in "ab"]
        return [found[1] if (found := re.search(r"rate (\w+)", text)) else "" for text in shown]

    with fabric.link("a", "lan").set(rate="1mbit"), fabric.link("b", "lan").set(rate="2mbit"):
        assert rates() == ["1Mbit", "2Mbit"]
    assert rates() == ["8Mbit", ""]
    with pytest.raises(NetfabError, match="rate: "):
        fabric.link("a", "lan").set(rate="fast")
    with pytest.raises(NetfabError, match="a link has no lose; did you mean `loss`"):
        fabric.link("a", "lan").set(lose="2%")


def test_impairments_are_refused_by_name(netfab_module: Fabric) -> None:
    with pytest.raises(NetfabError, match="delay, loss"):
        netfab_module.link("web", "front").set(delay="20ms", loss="2%")


def test_groups_of_a_partition_reach_only_themselves(netfab_module: Fabric) -> None:
    with netfab_module.partition(["web"], ["db1", "db2"], ["peer", "r"]):
        assert netfab_module["db1"].reaches("db2")
        assert netfab_module["peer"].reaches("r")
        assert netfab_module["peer"].cannot_reach("web")
        assert netfab_module["db1"].cannot_reach("r")

    with netfab_module.partition(["web", "r", "db1", "db2"], ["peer"]):
        assert netfab_module["peer"].cannot_reach("r")

    assert netfab_module["web"].reaches("db1", within=1)
    assert netfab_module["peer"].reaches("db2", within=1)


def test_halves_are_the_same_for_the_same_seed(netfab_module: Fabric) -> None:
    def reached() -> list[bool]:
        with netfab_module.halves():
            return [bool(netfab_module["r"].reaches(name)) for name in ("db1", "web")]

    assert reached() == reached()


def test_a_failed_check_says_why(netfab_module: Fabric) -> None:
    with pytest.raises(
        AssertionError, match=r"(?s)not so: web reaches db1 on tcp/81.*nothing listens on tcp/81"
    ):
        netfab_module.check("web reaches db2", "web reaches db1 on tcp/81")

    assert netfab_module.why("web", "db1").startswith("web reaches db1\nthe way:")


def test_a_strange_name_is_told_with_the_one_that_was_meant(netfab_module: Fabric) -> None:
    with pytest.raises(NetfabError, match="did you mean `db1`"):
        netfab_module["db11"]
    with pytest.raises(NetfabError, match="no node db11 was applied"):
        netfab_module["web"].reaches("db2", via="db11")


def test_threads_use_one_fabric_at_once(netfab_module: Fabric) -> None:
    netfab_module["db1"].serve_echo(9000)
    echoed: list[bool] = []

    def use() -> None:
        with netfab_module["web"].tcp("db1", 9000) as connection:
            echoed.append(connection.echo(b"x" * 1000) and netfab_module["web"].run("true").rc == 0)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert echoed == [True] * 8


def test_another_topology_is_applied_to_what_there_is(netfab: Fabric) -> None:
    grown = {
        "name": "shop",
        "networks": {"front": {"gateway": "r"}, "back": {"gateway": "r"}},
        "nodes": {"r": {}, "web": {"networks": ["front"]}, "new": {"networks": ["back"]}},
    }
    assert "create namespace shop.new" in netfab.plan(grown)

    netfab.apply(grown)

    assert netfab["web"].reaches("new")
    assert netfab.plan(grown) == []


def test_what_was_done_to_a_node_that_is_gone_needs_no_undoing(netfab: Fabric) -> None:
    less = "name: shop\nnetworks: {front: {}}\nnodes: {web: {networks: [front]}}\n"
    slow, lossy = (
        netfab.link("db1", "back").set(rate="1mbit"),
        netfab.link("db2", "back").drop("tcp dport 80"),
    )
    with slow, lossy, netfab.link("db2", "back").down(), netfab.link("peer", "r").down():
        netfab.apply(less)

    netfab.link("web", "front").set(rate="1mbit")
    netfab.rebuild_when_used()
    netfab.apply(less)
    assert netfab.plan(less) == []


def test_several_fabrics_of_one_name_are_apart(netfab_factory: Factory) -> None:
    one, other = (
        netfab_factory("networks: {lan: {}}\nnodes: {a: {networks: [lan]}, b: {networks: [lan]}}\n")
        for _ in range(2)
    )

    one["b"].serve_echo(7)

    assert one["a"].reaches("b", "tcp/7")
    assert other["a"].cannot_reach("b", "tcp/7")


def test_programs_of_the_file_are_seen(netfab_factory: Factory) -> None:
    fabric = netfab_factory(
        "networks: {lan: {}}\n"
        "nodes:\n"
        "  client: {networks: [lan]}\n"
        "  web: {networks: [lan], command: [python3, -m, http.server, '80'], ready: tcp/80}\n"
    )

    assert fabric["client"].http("web").status == 200
    assert "http.server" in fabric["web"].run("sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline").out


SERVING = """
    networks: {lan: {}}
    nodes:
      web:
        networks: [lan]
        command: "echo begun; exec busybox nc -ll -p 80 -e echo hello"
        restart: always
        ready: {tcp: 80, within: 10s}
      client: {networks: [lan]}
    """


def test_a_program_of_the_file_crashes_and_is_started_again(netfab_factory: Factory) -> None:
    lab = netfab_factory(SERVING)

    with lab["web"].kill(), pytest.raises(ConnectionRefusedError):
        lab["client"].tcp("web", 80)
    lab["client"].tcp("web", 80)
    lab["web"].restart()

    assert lab["web"].logs() == "begun\n" * 3


def test_a_halted_program_takes_connections_and_answers_none(netfab_factory: Factory) -> None:
    lab = netfab_factory(SERVING)

    with lab["web"].pause():
        halted = lab["client"].tcp("web", 80)
        with pytest.raises(TimeoutError):
            halted.recv(within=0.2)

    assert halted.recv() == b"hello\n"


def test_a_node_without_a_program_has_none_to_crash(netfab_module: Fabric) -> None:
    with pytest.raises(NetfabError, match="web"):
        netfab_module["web"].kill()


def test_hosts_of_the_file_are_simulated_and_split(netfab_factory: Factory) -> None:
    fabric = netfab_factory(
        """
        hosts: {h1: {address: 192.0.2.11}, h2: {address: 192.0.2.12, ssh: root@192.0.2.12}}
        networks: {lan: {}}
        nodes: {a: {networks: [lan]}, b: {networks: [lan], runs_on: h2}}
        """
    )
    assert fabric["a"].reaches("b", within=2)
    with fabric.partition(["h1"], ["h2"]):
        assert fabric["a"].cannot_reach("b")
    assert fabric["a"].reaches("b", within=2)


def test_a_topology_that_makes_no_sense_is_told_by_line(netfab_factory: Factory) -> None:
    with pytest.raises(NetfabError, match=r"test_nodes.py:2:\d+: .*bak"):
        netfab_factory("networks: {back: {}}\nnodes: {a: {networks: [bak]}}\n")
