"""A file with `hosts:` in `netfab lab`: every host is simulated there, for root and for an ordinary user.

The commands are those for hosts behind ssh, and so is what carries them but for the transport.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from lab import COMMAND, Lab, Result
from machine import differences
from test_lab_command import AS_NOBODY, as_nobody

TWO_HOSTS = Path(__file__).parents[2] / "topologies" / "two-hosts.yaml"
PAIR = """\
name: pair
hosts: {h1: {address: 192.0.2.11}, h2: {address: 192.0.2.12, ssh: root@192.0.2.12}}
networks: {lan: {subnet: 10.1.0.0/24}}
nodes:
  a: {networks: [lan]}
  b: {networks: {lan: {ip: 10.1.0.11}}, runs_on: h2}
"""
PROGRAMS = """\
name: pair
hosts: {h1: {address: 192.0.2.11}, h2: {address: 192.0.2.12, ssh: root@192.0.2.12}}
networks: {lan: {}}
nodes:
  a: {networks: [lan], command: [sh, -c, "echo I am a; exec sleep 1000"], ready: {log: I am}}
  b: {networks: [lan], command: [sh, -c, "echo I am b; exec sleep 1000"], ready: {log: I am}, runs_on: h2}
"""
ON_H2 = "nsenter --net=/run/netns/underlay.h2 --mount=/run/netfab-hosts/h2"
# Instead of CMD, which would be an interpreter that such a user may not read: netfab's own commands.
SEVERAL = """\
from netfab.cli import lab
def run(command):
    for words in " ".join(command).split(";"):
        sys.stdout.flush()
        if os.fork() == 0:
            sys.argv = ["netfab", *words.split()]
            os._exit(main())
        if os.waitstatus_to_exitcode(os.wait()[1]):
            return 1
    return 0
lab._run = run
sys.exit(main())
"""


def in_lab(lab: Lab, script: str) -> Result:
    """What a shell says in a lab of topology.yaml; `netfab` is the command."""
    return lab.netfab("lab", "topology.yaml", "--", "sh", "-ec", f"netfab() {{ {COMMAND} $@; }}\n{script}")


def test_a_program_on_one_simulated_host_serves_a_node_on_the_other(lab: Lab) -> None:
    before = lab.state()

    command = f"{COMMAND} exec client curl -s http://web/; {COMMAND} exec web hostname"
    result = lab.netfab("lab", str(TWO_HOSTS), "--", "sh", "-ec", command)

    assert result.out == "hello from web\nweb\n"
    assert differences(before, lab.state()) == []


def test_a_second_apply_in_the_lab_changes_nothing_and_plan_says_so(lab: Lab) -> None:
    lab.write(PAIR)

    result = in_lab(lab, "netfab apply; netfab plan; netfab diff; netfab drift")

    assert result.out.count("No changes.") == 4


def test_one_command_reaches_nodes_of_all_simulated_hosts(lab: Lab) -> None:
    lab.write(PROGRAMS)

    verbs = "netfab stats --no-stream | cut -c1-8; netfab ps | cut -c1-16; netfab stop -t 0 b; netfab wait b"
    shown = "netfab inspect b | grep -w -e exit_code -e host; netfab ps -a -o json"
    result = in_lab(lab, f"netfab exec a b -- hostname; netfab logs; {verbs}; {shown}")

    words, _, listed = result.out.partition("{")
    assert words.split("\n")[:2] == ["a", "b"]
    used = words.split("\n").index("HOST  FA")
    assert words.split("\n")[used:][1:3] == ["h1    pa", "h2    pa"]
    assert words.split("\n")[used:][3:8] == [
        "HOST  FABRIC  NO",
        "h1    pair    a ",
        "h2    pair    b ",
        "b",
        "137",
    ]
    assert {'"exit_code": 137,', '"host": "h2"'} < {line.strip() for line in words.split("\n")}
    assert {"a | I am a", "b | I am b"} < set(words.split("\n"))
    assert {(one["node"], one["host"]) for one in json.loads("{" + listed)["nodes"]} == {
        ("a", "h1"),
        ("b", "h2"),
    }


def test_a_network_that_is_on_other_hosts_only_is_told_from_one_that_is_nowhere(lab: Lab) -> None:
    lab.write(PAIR)

    result = in_lab(lab, "for net in pair/lan nowhere; do netfab run --network $net host true || true; done")

    assert (
        "the network pair/lan is on h1, h2, and not on this host\nhint: run it on one of these hosts\n"
        in result.err
    )
    assert "there is no network nowhere\n" in result.err


def test_what_others_change_on_a_simulated_host_is_named_with_it_and_repaired(lab: Lab) -> None:
    lab.write(PAIR)

    damage = f"{ON_H2} ip -n pair.b link set eth0 down"
    result = in_lab(lab, f"{damage}; netfab drift || test $? = 2; netfab reconcile; netfab drift")

    assert result.out.count("veth eth0 of b: down -> up on h2") == 2
    assert result.out.endswith("No changes. The kernel matches pair.\n")


def test_a_host_that_has_nothing_of_the_fabric_is_in_no_commands_way(lab: Lab) -> None:
    spare = PAIR.replace("hosts: {", "hosts: {h3: {address: 192.0.2.13, ssh: root@192.0.2.13}, ")
    lab.write(spare + "checks: [host reaches a]\n")
    looks = [*["status", "drift", "check", "ls"], "why a b"]

    moved = "netfab apply --set 'nodes.b.runs_on=h3'"
    result = in_lab(lab, "; ".join(f"netfab {look}" for look in looks) + f"; {moved}; netfab status")

    assert result.code == 0, result.err
    assert {tuple(line.split()[:2]) for line in result.out.splitlines()[-2:]} == {("h1", "a"), ("h3", "b")}


def test_a_command_runs_on_a_simulated_host_by_the_hosts_name(lab: Lab) -> None:
    lab.write(PAIR)

    result = in_lab(
        lab, "netfab exec h2 ip netns; netfab exec h2 false || echo $?; netfab exec h3 true || echo $?"
    )

    assert [line.split()[0] for line in result.out.splitlines()] == ["pair.b", "1", "1"]
    assert "there is no node h3" in result.err


def test_destroy_in_the_lab_leaves_nothing_on_any_simulated_host(lab: Lab) -> None:
    lab.write(PAIR)

    result = in_lab(lab, f"netfab destroy; {ON_H2} sh -c 'ls /run/netns; ip -o link | wc -l'; netfab ls")

    assert result.out.split() == ["Destroyed", "pair.", "2", "FABRIC", "NODES", "NETWORKS", "FILE"]


def test_an_ordinary_user_has_simulated_hosts_too(lab: Lab) -> None:
    lab.directory.chmod(0o755)
    lab.write(PAIR)
    ask = "import socket; s = socket.socket(); s.settimeout(60); print(s.connect_ex(('10.1.0.11', 80)))"
    enter = "nsenter --net=/run/netns/underlay.h1 --mount=/run/netfab-hosts/h1"
    script = f'{enter} ip netns exec pair.a python3 -c "{ask}"; ls /run/netns'

    result = as_nobody(lab, "lab", "topology.yaml", "--", "sh", "-ec", script)

    assert result.err == ""
    assert result.out.split() == ["111", "underlay.h1", "underlay.h2"]  # refused: b's own answer


def test_an_ordinary_user_has_all_commands_for_simulated_hosts_too(lab: Lab) -> None:
    lab.directory.chmod(0o755)
    lab.write(PAIR)
    commands = "exec a b -- hostname ; ip b ; apply ; plan ; status -o json ; drift ; reconcile ; destroy"

    result = lab.run(
        sys.executable,
        "-c",
        AS_NOBODY.removesuffix("sys.exit(main())\n") + SEVERAL,
        *("lab", "topology.yaml", "--", *commands.split()),
    )

    assert result.err == ""
    assert result.out.split("\n")[:3] == ["a", "b", "10.1.0.11"]
    assert result.out.endswith("Destroyed pair.\n")
