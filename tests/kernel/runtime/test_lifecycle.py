"""Starting, ending and restarting: exit codes, policies, records, and repeating what was done."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from containers import PYTHON, Containers, wait_for_end

from netfab.errors import ContainerFailed, NetfabError, RuntimeFailed
from netfab.runtime import client
from netfab.runtime import status as status_module
from netfab.runtime.paths import Paths
from netfab.runtime.status import connect, status
from netfab.system.proc import stat_fields


def halt(pid: int) -> None:
    """On return it does not run, as on a machine that has others to run."""
    os.kill(pid, signal.SIGSTOP)
    while stat_fields(pid)[0] != "T":
        continue


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 7", 7), ("kill -SEGV $$; kill -KILL $(exec sh -c 'echo $PPID'); exit 9", 9)],
)
def test_the_exit_code_is_kept(containers: Containers, script: str, code: int) -> None:
    found, _ = containers.run("sh", "-c", script)

    assert found == code
    assert containers.status().state == "exited"


def test_a_signals_exit_code_is_128_and_its_number(containers: Containers) -> None:
    found = containers.start("sleep", "inf")

    pidfd = os.pidfd_open(found.pid)
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    wait_for_end(pidfd)
    containers.output()

    assert containers.status().exit_code == 137


@pytest.mark.parametrize(("argv", "code"), [(("no-such-program",), 127), (("/etc/passwd",), 126)])
def test_a_program_that_cant_be_run_is_an_error_with_the_shells_code(
    containers: Containers, argv: tuple[str, ...], code: int
) -> None:
    with pytest.raises(ContainerFailed, match=argv[0]) as failure:
        containers.start(*argv)

    assert failure.value.exit_code == code
    assert (containers.status().state, containers.status().exit_code) == ("exited", code)
    assert argv[0] in containers.status().error


def test_a_user_that_isnt_there_is_named(containers: Containers) -> None:
    with pytest.raises(ContainerFailed, match="find its user: nobody-here"):
        containers.start("true", user="nobody-here")


def test_one_that_fails_does_not_keep_the_others_from_starting(containers: Containers) -> None:
    specs = [containers.spec("sleep", "inf", name="a"), containers.spec("no-such-program", name="b")]

    with pytest.raises(ContainerFailed, match="b: run"):
        client.start_all(containers.paths, [(spec, containers.netns) for spec in specs])

    assert {name: one.state for name, one in status(containers.paths).items()} == {
        "a": "running",
        "b": "exited",
    }


def test_many_start_in_one_go_under_one_supervisor(
    containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "DESCRIPTOR_LIMIT", 20)  # so that it is asked thrice
    specs = [containers.spec("sleep", "inf", name=f"n{number}") for number in range(50)]

    client.start_all(containers.paths, [(spec, containers.netns) for spec in specs])

    pids = [one.pid for one in status(containers.paths).values() if one.state == "running"]
    parents = {Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1] for pid in pids}
    assert len(pids) == 50
    assert parents == {str(containers.supervisor())}


def test_starting_what_runs_changes_nothing(containers: Containers) -> None:
    first = containers.start("sleep", "inf")

    assert containers.start("sleep", "inf") == first


def test_starting_something_else_under_a_name_that_runs_is_refused(containers: Containers) -> None:
    containers.start("sleep", "inf")

    with pytest.raises(NetfabError, match="web runs already"):
        containers.start("sleep", "1")


def test_an_ended_container_starts_again_on_its_own_layer(containers: Containers) -> None:
    containers.run("sh", "-c", "echo first >> /kept; cat /kept")

    code, text = containers.run("sh", "-c", "echo first >> /kept; cat /kept")

    assert (code, text.split()) == (0, ["first", "first", "first"])  # the log is one, too


def test_stopping_and_removing_what_isnt_there_is_fine(containers: Containers) -> None:
    client.stop(containers.paths, ["web"])
    client.remove(containers.paths, ["web"])


def test_what_ends_just_when_it_is_to_be_stopped_or_changed_hinders_nothing(
    containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    containers.start("sleep", "inf", name="other")
    found = containers.start("sleep", "inf", stdin="once")
    known = status(containers.paths)
    pidfd = os.pidfd_open(found.pid)
    client.send_signal(containers.paths, ["web"], signal.SIGKILL)
    wait_for_end(pidfd)
    containers.output()
    monkeypatch.setattr(client, "status", lambda _: known)  # as who asked a moment before

    client.update(containers.paths, found.spec._replace(restart="always"))
    client.stop(containers.paths, ["web", "other"], 0)

    assert containers.status("other").state == "stopped"


def test_what_ends_every_supervisor_is_not_asked_for_ever(containers: Containers) -> None:
    containers.start("sleep", "inf")

    def ending(paths: Paths) -> socket.socket:
        door = connect(paths)
        containers.kill_supervisor()
        return door

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "connect", ending)
        patch.setattr(client, "_SUCCESSORS", 2)
        with pytest.raises(RuntimeFailed, match="each supervisor of"):
            client.send_signal(containers.paths, ["web"], 0)


def test_the_supervisor_ends_with_its_last_container(containers: Containers) -> None:
    containers.start("sleep", "inf")
    pidfd = os.pidfd_open(containers.supervisor())

    client.stop(containers.paths, client.status(containers.paths))

    wait_for_end(pidfd)
    assert containers.supervisor() == 0


@pytest.mark.parametrize("request_of", [{"verb": "wait", "names": ["web"]}, {"verb": "mind", "name": "web"}])
def test_who_is_suspended_while_it_looks_at_a_program_keeps_nobody_from_removing_it(
    containers: Containers, request_of: dict[str, object]
) -> None:
    containers.start("sleep", "inf")

    with ThreadPoolExecutor() as thread, connect(containers.paths) as door:
        door.send(json.dumps(request_of).encode())  # and never hears the answer
        thread.submit(client.remove, containers.paths, ["web"]).result(60)

    assert containers.leftovers() == []


def test_a_program_that_ignores_term_is_killed_at_once(containers: Containers) -> None:
    containers.start("sleep", "inf")
    begun = time.monotonic()

    client.stop(containers.paths, ["web"], timeout=60)

    assert containers.status().exit_code == 137
    assert time.monotonic() - begun < 60  # it did not wait for the time-out


def test_a_program_that_handles_term_is_asked_and_its_answer_kept(containers: Containers) -> None:
    containers.start("sh", "-c", "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done")
    containers.says("up")

    client.stop(containers.paths, ["web"], timeout=60)

    assert containers.status().exit_code == 3
    assert containers.output().splitlines()[-1] == "bye"


def test_a_program_that_handles_term_and_stays_is_killed_after_the_timeout(containers: Containers) -> None:
    containers.start(
        PYTHON,
        "-c",
        "import signal\nsignal.signal(15, lambda *_: None)\nprint('up', flush=True)\nwhile 1: signal.pause()",
    )
    containers.says("up")

    client.stop(containers.paths, ["web"], timeout=0.05)

    assert containers.status().exit_code == 137


def test_on_failure_restarts_until_its_limit(containers: Containers) -> None:
    containers.run("sh", "-c", "echo again; exit 4", restart="on-failure:2")

    assert containers.output().split() == ["again"] * 3
    assert (containers.status().exit_code, containers.status().restarts) == (4, 2)


def test_on_failure_leaves_a_success_alone(containers: Containers) -> None:
    containers.run("true", restart="on-failure")

    assert containers.status().restarts == 0


@pytest.mark.parametrize("policy", ["always", "unless-stopped"])
def test_always_restarts_after_success_but_not_after_stop(containers: Containers, policy: str) -> None:
    containers.start(
        "sh",
        "-c",
        "echo once >> /count; test $(wc -l < /count) -lt 3 || { echo up; sleep inf; }",
        restart=policy,
    )
    containers.says("up")

    client.stop(containers.paths, ["web"])

    assert (containers.status().state, containers.status().restarts) == ("stopped", 2)


def test_a_container_that_waits_for_its_restart_can_be_stopped(containers: Containers) -> None:
    containers.start("false", restart="always")

    client.stop(containers.paths, ["web"])

    assert containers.status().state == "stopped"


def test_a_signal_reaches_the_program(containers: Containers) -> None:
    containers.start("sh", "-c", "trap 'echo heard' HUP; echo up; while :; do sleep 0.05; done")
    containers.says("up")

    client.send_signal(containers.paths, ["web"], signal.SIGHUP)

    containers.says("heard")


def test_a_signal_to_what_does_not_run_is_refused_and_reaches_the_others(containers: Containers) -> None:
    containers.start("sleep", "inf")

    with pytest.raises(NetfabError, match=r"^other does not run$"):
        client.send_signal(containers.paths, ["other", "web"], signal.SIGKILL)

    containers.output()
    assert containers.status().exit_code == 137


def test_a_program_that_was_killed_has_ended_by_then_and_can_be_started(containers: Containers) -> None:
    first = containers.start("sleep", "inf")
    client.send_signal(containers.paths, ["web"], signal.SIGKILL)

    again = containers.start("sleep", "inf")

    assert again.state == "running"
    assert again.pid != first.pid


def test_a_program_that_has_ended_is_known_to_although_its_supervisor_did_not_run_since(
    containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    pidfd, supervisor = os.pidfd_open(containers.start("sleep", "inf").pid), containers.supervisor()
    halt(supervisor)
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    wait_for_end(pidfd)

    class Waking(socket.socket):
        def send(self, *words: Any) -> int:
            os.kill(supervisor, signal.SIGCONT)
            return super().send(*words)

    monkeypatch.setattr(status_module, "connect", lambda paths: Waking(fileno=connect(paths).detach()))
    try:
        found = containers.status()
    finally:
        os.kill(supervisor, signal.SIGCONT)

    assert (found.state, found.exit_code) == ("exited", 137)


def test_a_supervisor_that_does_not_run_is_waited_for_once_of_however_many_programs(
    containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    pidfds = [os.pidfd_open(containers.start("sleep", "inf", name=name).pid) for name in ("web", "db")]
    supervisor, waited = containers.supervisor(), list[float]()
    halt(supervisor)
    for pidfd in pidfds:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        wait_for_end(pidfd)

    class Noting(socket.socket):
        def settimeout(self, seconds: float | None) -> None:
            waited.append(seconds or 0.0)
            super().settimeout(seconds)

    monkeypatch.setattr(status_module, "connect", lambda paths: Noting(fileno=connect(paths).detach()))
    monkeypatch.setattr(status_module, "_PATIENCE", 0.05)
    try:
        status(containers.paths)
    finally:
        os.kill(supervisor, signal.SIGCONT)

    assert len(waited) == 2
    assert waited[1] == status_module._LEAST


def test_a_start_that_comes_together_with_an_end_is_one(containers: Containers) -> None:
    first, supervisor = containers.start("sleep", "inf"), containers.supervisor()
    pidfd = os.pidfd_open(first.pid)
    with connect(containers.paths) as door:
        door.send(b'{"verb": "wait", "names": []}')
        door.recv(100)  # it has this connection
        halt(supervisor)
        socket.send_fds(door, [b'{"verb": "start", "names": ["web"]}'], [containers.netns])
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        wait_for_end(pidfd)
        os.kill(supervisor, signal.SIGCONT)
        door.recv(100)

    again = containers.status()

    assert again.state == "running"
    assert again.pid != first.pid


def test_a_program_that_was_killed_on_purpose_is_not_restarted_by_its_policy(containers: Containers) -> None:
    containers.start("sleep", "inf", restart="always")

    client.send_signal(containers.paths, ["web"], signal.SIGKILL)

    assert (containers.status().state, containers.status().restarts) == ("stopped", 0)


def test_a_signal_that_a_program_does_not_notice_stops_nothing(containers: Containers) -> None:
    found = containers.start("sleep", "inf", restart="always")
    client.send_signal(containers.paths, ["web"], signal.SIGTERM)

    os.kill(found.pid, signal.SIGKILL)  # by itself, so to say

    while containers.status().restarts == 0:
        assert containers.status().state != "stopped"


def test_what_was_stopped_starts_again_under_its_policy(containers: Containers) -> None:
    containers.start("sleep", "inf", restart="always")
    client.stop(containers.paths, ["web"])

    again = containers.start("sleep", "inf", restart="always")
    os.kill(again.pid, signal.SIGKILL)

    while containers.status().restarts == 0:
        assert containers.status().state != "stopped"


def test_what_is_to_be_stopped_and_never_ran_is_known_as_stopped(containers: Containers) -> None:
    client.halt(containers.paths, containers.spec("sleep", "inf"))

    assert (containers.status().state, containers.status().spec.argv) == ("stopped", ("sleep", "inf"))
    assert containers.supervisor() == 0


def test_exec_commands_run_with_every_capability_when_it_runs(containers: Containers) -> None:
    containers.start(
        "sleep", "inf", exec=(("sh", "-c", "ip link set lo up; grep CapEff /proc/self/status > /caps"),)
    )

    _, text = containers.exec("sh", "-c", "cat /caps; cat /sys/class/net/lo/operstate; ip -o link show lo")
    ours = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff")
    )
    assert text.splitlines()[0] == ours
    assert "UP" in text.splitlines()[2]


def test_an_exec_command_that_fails_is_an_error(containers: Containers) -> None:
    with pytest.raises(NetfabError, match="web: exec: false: exit status 1"):
        containers.start("sleep", "inf", exec=(("false",),))


def test_removal_leaves_nothing_even_of_a_deep_tree_that_the_guest_made(containers: Containers) -> None:
    containers.python(
        "import os\n"
        "for n in range(3000):\n"
        " os.mkdir('d'); os.chdir('d'); os.chmod('..', 0o500 if n % 7 else 0o700)\n"
        "open('f', 'w').close()"
    )

    client.remove(containers.paths, ["web"])

    assert containers.leftovers() == []
