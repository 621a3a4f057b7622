"""Killing the supervisor kills no container, loses no byte, reports no false exit status."""

from __future__ import annotations

import os
import select
import signal
import subprocess

import pytest
from containers import Containers, wait_for_end

from netfab.runtime import client
from netfab.runtime.keeper import Keeper
from netfab.runtime.record import read_record, write_record
from netfab.runtime.timers import Timers
from netfab.system.proc import start_ticks


def kill(pid: int) -> None:
    pidfd = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    wait_for_end(pidfd)


def test_containers_live_on_and_the_next_command_adopts_them(containers: Containers) -> None:
    before = containers.start("sleep", "inf")

    containers.kill_supervisor()
    containers.start("sleep", "inf", name="other")

    assert containers.status() == before
    assert containers.supervisor() != 0


def test_how_they_are_is_known_without_a_supervisor(containers: Containers) -> None:
    before = containers.start("sleep", "inf")

    containers.kill_supervisor()

    assert containers.status() == before
    assert containers.supervisor() == 0


def test_an_adopted_container_can_be_stopped(containers: Containers) -> None:
    containers.start("sleep", "inf")
    containers.kill_supervisor()

    client.stop(containers.paths, ["web"])

    assert containers.status().state == "stopped"


def test_an_adopted_container_whose_end_somebody_else_saw_first_can_be_stopped(
    containers: Containers,
) -> None:
    containers.start("sleep", "inf")
    containers.kill_supervisor()
    known = read_record(containers.paths.record("web"))
    assert known is not None
    child = subprocess.Popen(["sleep", "inf"])  # stands for it, and has us for a parent
    theirs = known._replace(pid=child.pid, start_ticks=start_ticks(child.pid))
    write_record(containers.paths.record("web"), theirs)
    keeper = Keeper(containers.paths, select.epoll(), Timers(), lambda _: None)
    keeper.adopt()
    child.kill()
    child.wait()

    keeper.stop(["web"], 0)

    assert keeper.containers["web"].stopping
    for fd in (keeper.containers["web"].pidfd, keeper.containers["web"].netns):
        os.close(fd or 0)
    write_record(containers.paths.record("web"), known)


def test_what_was_being_stopped_when_the_supervisor_died_is_not_started_again(containers: Containers) -> None:
    found = containers.start(
        "sh", "-c", "trap : TERM; echo up; while :; do sleep 0.05; done", restart="always"
    )
    containers.says("up")
    client.send_signal(containers.paths, ["web"], signal.SIGTERM)
    containers.kill_supervisor()

    kill(found.pid)
    containers.start("sleep", "inf", name="other")  # brings a new supervisor, which finds it ended
    containers.output()

    assert (containers.status().state, containers.status().restarts) == ("stopped", 0)


@pytest.mark.parametrize("code", [0, 5])
def test_the_exit_code_of_an_adopted_container_is_true_or_unknown(containers: Containers, code: int) -> None:
    containers.start("sh", "-c", f"echo up; while test ! -e /go; do sleep 0.01; done; exit {code}")
    containers.says("up")
    containers.kill_supervisor()
    containers.start("sleep", "inf", name="other")  # brings a new supervisor

    containers.exec("touch", "/go")
    containers.output()

    assert containers.status().exit_code in (code, None)


def test_an_end_that_nobody_saw_is_unknown(containers: Containers) -> None:
    found = containers.start("sleep", "inf")
    containers.kill_supervisor()

    kill(found.pid)

    assert (containers.status().state, containers.status().exit_code) == ("exited", None)
    containers.start("sleep", "inf", name="other")  # adopts what is left of it
    client.stop(containers.paths, ["other"])
    assert (containers.status().state, containers.status().exit_code in (None, 137)) == ("exited", True)


def test_an_end_that_nobody_saw_counts_as_a_failure(containers: Containers) -> None:
    netns = f"/proc/{os.getpid()}/fd/{containers.netns}"
    script = "test -e /second && echo up; touch /second; exec sleep inf"
    found = containers.start("sh", "-c", f"{script}; echo first", restart="on-failure", netns=netns)
    containers.exec("sh", "-c", "until test -e /second; do sleep 0.01; done")
    containers.kill_supervisor()

    kill(found.pid)
    containers.start("sleep", "inf", name="other")

    containers.says("up")


def test_a_number_that_is_somebody_elses_now_is_not_taken_for_the_container(containers: Containers) -> None:
    found = containers.start("sleep", "inf")
    containers.kill_supervisor()
    path = containers.paths.record("web")
    known = read_record(path)
    assert known is not None

    write_record(path, known._replace(start_ticks=known.start_ticks - 1))

    assert containers.status().state == "exited"
    client.stop(containers.paths, client.status(containers.paths))
    os.kill(found.pid, 0)  # it was not touched
    write_record(path, known)


def test_a_record_of_another_boot_says_nothing_about_this_one(containers: Containers) -> None:
    containers.start("sleep", "inf")
    path = containers.paths.record("web")
    known = read_record(path)
    assert known is not None
    containers.kill_supervisor()

    write_record(path, known._replace(boot_id="another"))

    assert containers.status().state == "exited"
    write_record(path, known)


def test_no_byte_of_output_is_lost(containers: Containers) -> None:
    containers.start("sh", "-c", "seq 4; until test -e /go; do sleep 0.01; done; seq 5 9")

    containers.kill_supervisor()
    containers.exec("touch", "/go")

    assert containers.output().split() == list("123456789")


def test_many_that_write_while_their_supervisor_is_killed_lose_neither_life_nor_word(
    containers: Containers,
) -> None:
    containers.start("sleep", "infinity", name="stays")  # and so does the supervisor, until it is killed
    names = [f"c{number}" for number in range(8)]
    for number, name in enumerate(names):
        containers.start("sh", "-c", f"echo up; seq 30000; exit {number}", name=name)
    containers.kill_supervisor()

    said = {name: containers.output(name).splitlines() for name in names}

    expected = ["up", *map(str, range(1, 30001))]
    assert [name for name in names if said[name] != expected] == []
    client.ensure_supervisor(containers.paths)
    codes = [containers.status(name).exit_code for name in names]
    assert [code for number, code in enumerate(codes) if code not in (number, None)] == []


def test_a_restart_by_an_adopting_supervisor_is_in_the_nodes_network(containers: Containers) -> None:
    netns = f"/proc/{os.getpid()}/fd/{containers.netns}"
    first_run = "touch /second; until test -e /go; do sleep 0.01; done; exit 1"
    script = f"readlink /proc/self/ns/net; test -e /second && echo up && exec sleep inf; {first_run}"
    containers.start("sh", "-c", script, restart="on-failure", netns=netns)
    containers.kill_supervisor()
    containers.start("sleep", "inf", name="other")

    containers.exec("touch", "/go")
    containers.says("up")

    first, second, _ = containers.tail()
    assert first == second == f"net:[{os.fstat(containers.netns).st_ino}]"


def test_a_container_whose_description_is_lost_does_not_keep_a_supervisor_from_the_others(
    containers: Containers,
) -> None:
    lost = containers.start("sleep", "inf", name="lost")
    containers.start("sleep", "inf")
    containers.kill_supervisor()
    os.truncate(containers.paths.spec("lost"), 0)

    client.stop(containers.paths, client.status(containers.paths))

    assert containers.status().state == "stopped"
    kill(lost.pid)
    client.remove(containers.paths, ["lost"])
