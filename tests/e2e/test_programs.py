"""Programs in nodes: started, ready, limited, kept while the network changes around them, stopped."""

from __future__ import annotations

import json
import signal
import socket
import sys
from functools import partial
from pathlib import Path

import pytest
from lab import Lab
from machine import differences
from traffic import PATIENCE, answer

TOTAL_RETRANS = 100  # where struct tcp_info has it, linux/tcp.h
SERVER = (
    "import socket as k; s = k.create_server(('::', 80), family=k.AF_INET6, dualstack_ipv6=True); "
    "[s.accept()[0].send(b'hello') for _ in iter(int, 1)]"
)
FILE = """\
name: shop
networks: {lan: {subnet: 10.1.0.0/24}}
nodes:
  web:
    networks: {lan: {ip: %(ip)s}}
    command: [python3, -c, "%(server)s"]
    ready: tcp/80
%(more)s  client: {networks: {lan: {ip: 10.1.0.99}}}
"""


def shop(ip: str = "10.1.0.10", more: str = "") -> str:
    return FILE % {"ip": ip, "server": SERVER, "more": "".join(f"    {line}\n" for line in more.splitlines())}


def test_the_first_connection_after_apply_works_a_hundred_times(lab: Lab) -> None:
    lab.write(f"""\
name: shop
networks: {{lan: {{subnet: [10.1.0.0/24, "fd01::/64"]}}}}
nodes:
  web:
    networks: {{lan: {{ip: [10.1.0.10, "fd01::10"]}}}}
    command: [python3, -c, "{SERVER}"]
    ready: tcp/80
    publish: ["8080:80"]
  client: {{networks: [lan]}}
""")
    ways = (
        ("shop.client", "10.1.0.10", 80),
        ("shop.client", "fd01::10", 80),
        ("", "fd01::10", 80),
        ("", "127.0.0.1", 8080),
    )

    answers = []
    for _ in range(25):  # each time anew: no neighbour is known, no connection tracked
        lab.netfab("apply")
        answers += [lab.call(partial(ask_once, address, port), node) for node, address, port in ways]
        lab.netfab("destroy")

    assert answers == ["hello"] * 100


def ask_once(address: str, port: int) -> str:
    """What a server says; and whether a packet to it was lost, and sent again a second later."""
    with socket.create_connection((address, port), PATIENCE) as client:
        said = client.recv(100).decode()
        told = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TOTAL_RETRANS + 4)
    again = int.from_bytes(told[TOTAL_RETRANS:], sys.byteorder)
    return f"{said}, {again} sent again" if again else said


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        (shop("10.1.0.20"), "address"),
        (shop(more="publish: ['8080:80']"), "firewall"),
        (shop(more="routes: ['10.9.0.0/16 via client']"), "route"),
        (shop().replace("subnet: 10.1.0.0/24", "subnet: 10.1.0.0/24, mtu: 1400"), "veth"),
        (shop().replace("ip: 10.1.0.10", "ip: 10.1.0.10, mac: '02:00:00:00:00:77'"), "veth"),
        (shop(more="memory: 200m"), "container"),
    ],
    ids=["address", "published port", "route", "mtu", "mac", "memory limit"],
)
def test_a_running_program_keeps_its_pid_when_this_changes(lab: Lab, text: str, changed: str) -> None:
    lab.write(shop())
    lab.netfab("apply")
    before = lab.pid_of("web")

    lab.write(text)
    changes = lab.netfab("apply", "-o", "json").json["changes"]

    assert changed in {change["kind"] for change in changes}
    assert not any(change["restarts"] for change in changes)
    assert lab.pid_of("web") == before
    address = "10.1.0.20" if changed == "address" else "10.1.0.10"
    assert answer(lab, "shop.client", address) == "hello"


def test_what_keeps_programs_from_running_is_told_with_its_place_in_the_file(lab: Lab) -> None:
    lab.write(
        "name: t\nnodes:\n  a: {command: [nobody]}\n  b: {command: [sleep, '9'], mounts: ['/none:/x']}\n"
    )

    told = lab.netfab("apply", code=1).err

    assert "topology.yaml:3:16: nodes.a.command: a: run: nobody: No such file or directory\n" in told
    assert "topology.yaml:4:38: nodes.b.mounts: b: mount: /none: No such file or directory\n" in told
    assert told.endswith("Everything is as it was before.\n")


def test_another_command_restarts_the_program_and_no_other(lab: Lab) -> None:
    text = (
        "name: x\nnodes:\n  a: {mode: none, command: [sleep, '%s']}\n"
        "  b: {mode: none, command: [sleep, '1000']}\n"
    )
    lab.write(text % 1000)
    lab.netfab("apply")
    before = lab.pid_of("a"), lab.pid_of("b")

    lab.write(text % 2000)
    lab.netfab("apply")

    assert lab.pid_of("a") != before[0]
    assert lab.pid_of("b") == before[1]


def test_a_node_that_does_not_become_ready_is_undone_and_its_last_words_are_shown(lab: Lab) -> None:
    before = lab.state()
    lab.write(
        "name: x\nnodes: {a: {mode: none, command: 'echo last words; touch /said; sleep 1000', "
        "exec: ['until test -e /said; do sleep 0.01; done'], ready: {tcp: 80, within: 1s}}}\n"
    )

    result = lab.netfab("apply", code=1)

    assert "a is not ready" in result.err
    assert "a | last words" in result.err
    assert differences(without_logs(before), without_logs(lab.state())) == []


def test_a_program_that_ends_before_it_is_ready_is_no_reason_to_wait(lab: Lab) -> None:
    lab.write(
        'name: x\nnodes: {a: {mode: none, command: "echo broken; exit 3", ready: {tcp: 80, within: 600s}}}\n'
    )

    result = lab.netfab("apply", code=1)

    assert "a | broken" in result.err
    assert "3" in result.err


def without_logs(state: dict[str, frozenset[object]]) -> dict[str, frozenset[object]]:
    """Logs survive the rollback."""
    return state | {"/var/lib/netfab": frozenset(), "links": state["links"]}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_signal_during_apply_undoes_it_and_exits_as_a_shell_says_it(
    lab: Lab, number: signal.Signals
) -> None:
    before = lab.state()
    lab.write("name: x\nnetworks: {lan: {}}\nnodes: {n1..400: {networks: [lan]}}\n")

    process = lab.start(*lab.words("-vv", "apply"))
    assert process.stderr is not None
    assert process.stderr.readline() != ""  # the first message to the kernel is on its way
    result = lab.interrupt(process, number)

    assert result.code == 128 + number
    assert "a mistake in netfab" not in result.err
    assert differences(before, lab.state()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_signal_while_waiting_for_a_node_undoes_the_apply(lab: Lab, number: signal.Signals) -> None:
    before = lab.state()
    lab.write("name: x\nnodes: {a: {mode: none, command: [sleep, '1000'], ready: {tcp: 80, within: 600s}}}\n")

    process = lab.start(*lab.words("-vv", "apply"))
    assert process.stderr is not None
    while "a" not in running(lab):
        continue
    result = lab.interrupt(process, number)

    assert result.code == 128 + number
    assert differences(without_logs(before), without_logs(lab.state())) == []


def running(lab: Lab) -> set[str]:
    """Nodes whose program runs, by the supervisor's own records."""
    found = lab.run("sh", "-c", "cat /run/netfab/x/containers/*/record.json").out
    names = lab.run("sh", "-c", "ls /run/netfab/x/containers").out.split()
    return set(names) if '"running"' in found else set()


def test_a_node_starts_when_what_it_depends_on_is_ready(lab: Lab) -> None:
    lab.write(f"""\
name: x
networks: {{lan: {{}}}}
nodes:
  client:
    networks: [lan]
    depends_on: [web]
    command: [python3, -c, "import socket; print(socket.create_connection(('web', 80), 60).recv(9).decode())"]
  web: {{networks: [lan], command: [python3, -c, "{SERVER}"], ready: tcp/80}}
""")

    lab.netfab("apply")

    assert lab.run(*lab.words("logs", "-f", "client")).out == "hello\n"


def test_exec_lines_run_with_all_capabilities_before_the_node_is_ready(lab: Lab) -> None:
    lab.write(
        "name: x\nnodes: {a: {mode: none, "
        "exec: [[ip, link, add, dummy7, type, bridge], 'ip link set dummy7 mtu 1234']}}\n"
    )

    lab.netfab("apply")

    assert "mtu 1234" in lab.netfab("exec", "a", "ip", "link", "show", "dummy7").out


EXEC = (
    "name: x\nnodes: {a: {mode: none, exec: ['ip link add dummy7 type bridge; echo hunter2 >> /tmp/%s']}}\n"
)


def test_exec_lines_run_again_where_reconcile_makes_the_node_again(lab: Lab) -> None:
    script = "ip link add dummy7 type bridge; echo hunter2 >> /run/out"
    lab.write(f"name: x\nnodes: {{a: {{mode: none, exec: ['{script}']}}}}\n")
    lab.netfab("apply")

    lab.netfab("reconcile")
    once = lab.shell("cat /run/out")
    lab.shell("umount -l /run/netns/x.a; rm /run/netns/x.a")
    lab.netfab("reconcile")

    assert once == "hunter2\n"
    assert "dummy7" in lab.netfab("exec", "a", "ip", "link").out
    assert "hunter2" not in lab.shell("cat /run/netfab/*.json")


def test_an_exec_line_that_fails_fails_the_reconcile_and_undoes_it(lab: Lab) -> None:
    lab.write("name: x\nnodes: {a: {mode: none, exec: ['test -e /run/fine']}}\n")
    lab.shell("touch /run/fine")
    lab.netfab("apply")
    lab.shell("rm /run/fine; umount -l /run/netns/x.a; rm /run/netns/x.a")

    result = lab.netfab("reconcile", code=1)

    assert "exec: " in result.err
    assert "Everything is as it was before." in result.err
    assert lab.shell("ls /run/netns") == ""


def test_an_exec_line_that_fails_fails_the_apply(lab: Lab) -> None:
    before = lab.state()
    lab.write("name: x\nnodes: {a: {mode: none, exec: ['echo what went wrong >&2; exit 7']}}\n")

    result = lab.netfab("apply", code=1)

    assert "what went wrong" in result.err
    assert differences(without_logs(before), without_logs(lab.state())) == []


def test_a_program_that_had_crashed_hinders_no_undo(lab: Lab) -> None:
    lab.write("name: x\nnodes: {a: {mode: none, command: [sleep, '1000']}}\n")
    lab.netfab("apply")
    lab.kill(f"{lab.pid_of('a')}")
    lab.write(
        "name: x\nnodes: {a: {mode: none, command: [sleep, '1000']}, b: {mode: none, exec: ['exit 7']}}\n"
    )

    result = lab.netfab("apply", code=1)

    assert result.err.splitlines()[-1] == "Everything is as it was before."
    assert list(lab.netfab("status", "-o", "json").json["nodes"]) == ["a"]


def test_files_are_there_with_content_mode_and_placeholders(lab: Lab) -> None:
    lab.write("from a file\n", "source.txt")
    lab.write("""\
name: x
networks: {lan: {subnet: 10.1.0.0/24}}
nodes:
  a:
    networks: {lan: {ip: 10.1.0.7}}
    command: [sleep, '1000']
    files:
      /etc/app.conf: {content: "addr={ip:lan} node={node}", mode: 0640}
      /etc/copy: {source: ./source.txt}
""")

    lab.netfab("apply")

    assert lab.netfab("exec", "a", "cat", "/etc/app.conf").out == "addr=10.1.0.7 node=a"
    assert lab.netfab("exec", "a", "stat", "-c", "%a", "/etc/app.conf").out == "640\n"
    assert lab.netfab("exec", "a", "cat", "/etc/copy").out == "from a file\n"
    assert not Path("/etc/app.conf").exists()


def test_a_program_is_started_again_as_its_policy_says(lab: Lab) -> None:
    lab.write("name: x\nnodes: {a: {mode: none, command: 'echo once; exit 1', restart: on-failure:2}}\n")

    lab.netfab("apply")

    assert lab.run(*lab.words("logs", "-f", "a")).out == "once\n" * 3


def test_a_one_shot_that_ended_well_is_no_change(lab: Lab) -> None:
    lab.write("name: x\nnodes: {a: {mode: none, command: [echo, done]}}\n")
    lab.netfab("apply")
    lab.run(*lab.words("logs", "-f", "a"))

    assert lab.netfab("diff").out.startswith("No changes.")
    assert lab.netfab("drift").out.startswith("No changes.")


def test_a_caller_that_ignores_the_ends_of_its_children_is_served_as_any(lab: Lab) -> None:
    lab.write("name: pair\nnodes: {web: {command: [sleep, '1000']}}\n")
    ignoring = ("env", "--ignore-signal=CHLD")

    applied = lab.run(*ignoring, *lab.words("apply"))
    told = lab.run(*ignoring, *lab.words("exec", "web", "sh", "-c", "exit 3"))

    assert (applied.code, applied.err) == (0, "")
    assert (told.code, told.err) == (3, "")


def test_directories_that_netfab_keeps_things_in_may_be_named_from_where_one_is(lab: Lab) -> None:
    lab.write("name: pair\nnodes: {web: {command: [sleep, '1000']}}\n")
    own = ("--state-dir", "state", "--run-dir", "run")

    lab.netfab(*own, "apply")

    assert lab.netfab(*own, "exec", "web", "echo", "here").out == "here\n"
    lab.netfab(*own, "destroy")


def test_limits_hold(lab: Lab) -> None:
    lab.write("name: x\nnodes: {a: {mode: none, command: [sleep, '1000'], memory: 64m, pids: 20}}\n")
    lab.netfab("apply")

    hog = lab.run(*lab.words("exec", "a", "python3", "-c", "x = bytearray(256 << 20)"))
    many = lab.run(
        *lab.words("exec", "a", "sh", "-c", "for n in $(seq 40); do sleep 1000 >/dev/null 2>&1 & done")
    )

    assert hog.code == 137
    assert "fork" in many.err


def test_logs_come_from_one_node_or_from_all_with_their_names(lab: Lab) -> None:
    lab.write(
        "name: x\nnodes:\n  a: {mode: none, command: [echo, one]}\n  b: {mode: none, command: [echo, two]}\n"
    )
    lab.netfab("apply")

    assert lab.run(*lab.words("logs", "-f", "a")).out == "one\n"
    assert sorted(lab.run(*lab.words("logs", "-f")).out.splitlines()) == ["a | one", "b | two"]


def test_a_program_sees_the_docker_confinement(lab: Lab) -> None:
    lab.write("name: x\nnodes: {a: {mode: none, command: [sleep, '1000']}}\n")
    lab.netfab("apply")

    status = dict(
        line.split(":\t", 1)
        for line in lab.netfab("exec", "a", "cat", "/proc/self/status").out.splitlines()
        if ":\t" in line
    )

    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert int(status["CapEff"], 16) == 0xA00425FB & ~(1 << 27)  # docker's 14 less MKNOD
    assert lab.netfab("exec", "a", "test", "-s", "/etc/shadow", code=1).out == ""


def test_ps_lists_programs(lab: Lab) -> None:
    lab.write("name: x\nnodes: {a: {mode: none, command: [sleep, '1000']}}\n")
    lab.netfab("apply")

    (found,) = json.loads(lab.netfab("ps", "-o", "json").out)["nodes"]

    assert (found["fabric"], found["node"], found["state"]) == ("x", "a", "running")
    assert found["command"] == ["sleep", "1000"]


def slow(script: str, ready: str, more: str = "") -> str:
    command = json.dumps(["sh", "-c", f"{script}; sleep 1000"])
    return f"name: slow\nnodes: {{a: {{mode: none, command: {command}, ready: {ready}{more}}}}}\n"


def test_a_longer_wait_for_a_node_is_told(lab: Lab) -> None:
    script = "until test -e /here/go; do sleep 0.01; done; echo up"
    lab.write(slow(script, "{log: up}", f", mounts: ['{lab.directory}:/here']"))

    process = lab.start(*lab.words("apply"))
    assert process.stderr is not None
    told = process.stderr.readline()
    lab.write("", "go")
    _, more = process.communicate(timeout=60)

    assert (process.returncode, told, more) == (0, "waiting for a (log 'up')\n", "")


def test_a_node_that_is_not_ready_in_time_is_told_with_what_waits_longer(lab: Lab) -> None:
    said = ", exec: ['until test -e /said; do sleep 0.01; done']"
    lab.write(slow("printf 'a\\tb\\n'; touch /said", "{tcp: 80, within: 1s}", said))

    told = lab.netfab("apply", code=1).err

    assert "a is not ready: tcp 80 did not hold within 1 s\n  a | a\tb\n" in told
    assert "hint: `within: 2s` in its `ready` waits longer\n" in told


def test_logs_of_a_fabric_are_of_all_its_nodes_and_named_when_there_are_several(lab: Lab) -> None:
    for name in ("one", "two"):
        text = slow(f"echo of {name}", "{log: of}").replace("name: slow", f"name: {name}")
        lab.write(text, f"{name}.yaml")
        lab.netfab("apply", f"{name}.yaml")

    assert lab.netfab("logs", "one").out == "of one\n"
    assert lab.netfab("logs").out == "one/a | of one\ntwo/a | of two\n"
    assert lab.netfab("logs", "two/a").out == "of two\n"


NODES = "name: x\nnodes:\n  empty: {mode: none}\n  program: {mode: none, command: [sleep, '1000']}\n"
TELLS = "trap 'echo told; exit 9' TERM HUP; echo up; while :; do read line || sleep 0.05; done"


@pytest.mark.parametrize("node", ["program", "empty"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["SIGTERM", "SIGHUP"])
def test_a_signal_that_ends_exec_is_its_commands(lab: Lab, node: str, number: signal.Signals) -> None:
    lab.write(NODES)
    lab.netfab("apply")
    process = lab.start(*lab.words("exec", node, "sh", "-c", TELLS))
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"

    result = lab.interrupt(process, number)

    assert (result.code, result.out) == (9, "told\n")


@pytest.mark.parametrize("node", ["program", "empty"])
def test_a_command_that_is_detached_goes_on_and_what_cant_be_run_is_told(lab: Lab, node: str) -> None:
    lab.write(NODES)
    lab.netfab("apply")

    begun = lab.netfab("exec", "-d", node, "sh", "-c", "echo nobody reads; exec sleep 4243")

    assert begun[1:] == ("", "")
    lab.shell("until pgrep -fx 'sleep 4243'; do sleep 0.01; done")
    assert "No such file" in lab.netfab("exec", "-dit", node, "/no/such", code=127).err


@pytest.mark.parametrize("node", ["program", "empty"])
def test_a_command_does_not_outlive_the_exec_that_is_killed(lab: Lab, node: str) -> None:
    lab.write(NODES)
    lab.netfab("apply")
    process = lab.start(*lab.words("exec", node, "sh", "-c", "echo up; exec sleep 4242"))
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"

    lab.interrupt(process, signal.SIGKILL)

    lab.shell("while pgrep -fx 'sleep 4242'; do sleep 0.05; done")


def test_destroy_says_which_processes_are_still_in_its_nodes(lab: Lab) -> None:
    lab.write(NODES)
    lab.netfab("apply")
    lab.netfab("exec", "empty", "sh", "-c", "setsid sleep 2424 >/dev/null 2>&1 </dev/null &")
    pid = lab.shell("until pgrep -fx 'sleep 2424'; do sleep 0.05; done").strip()

    result = lab.netfab("destroy")

    assert result.err == f"1 process is still in what was x.empty, whose namespace lasts as long: {pid}\n"


def test_where_a_node_lacks_the_callers_shell_it_has_another(lab: Lab) -> None:
    lab.write("nodes: {a: {}}\nname: shop\n")
    lab.netfab("apply")

    lab.netfab("shell", "a", input="exit 5\n", code=5, env={"SHELL": "/bin/fish-of-mine"})
