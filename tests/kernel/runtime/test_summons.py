"""How supervisors and helpers come to be: begun by a command that will need one, or in vain."""

from __future__ import annotations

import json
import os
import select
import signal
from _socket import MSG_PEEK
from collections.abc import Callable
from pathlib import Path

import pytest
from containers import Containers, wait_for_end
from own_children import own_children
from shop import topology

from netfab import fabric
from netfab.errors import RuntimeFailed, Several
from netfab.runtime import client, helper, sealed, summons
from netfab.runtime.exec import _Wanted, run_in_container
from netfab.runtime.paths import Paths
from netfab.runtime.protocol import READY
from netfab.runtime.streams import OWN_STREAMS
from netfab.where import HERE

PROGRAM = "networks: {lan: {}}\nnodes: {web: {command: [sleep, infinity], networks: [lan]}}\n"

sealed_only = pytest.mark.skipif(
    not sealed.must_be_sealed(), reason="an ordinary user's interpreter is no guest's to write"
)


def begin(containers: Containers) -> None:
    """Have one begun that is nobody's child already."""
    summons.begin(containers.paths)
    os.waitid(os.P_PID, summons._begun[containers.paths].pid, os.WEXITED | os.WNOWAIT)


def assert_it_ends_with_its_command(containers: Containers, command: Callable[[], None]) -> None:
    """The one that is there after `command`, when whoever gave that is killed."""
    listen, tell = os.pipe()
    caller = os.fork()
    if caller == 0:
        command()
        os.write(tell, b"+")
        signal.pause()
    os.read(listen, 1)
    begun = os.pidfd_open(containers.supervisor())

    os.kill(caller, signal.SIGKILL)
    os.waitpid(caller, 0)

    wait_for_end(begun)


def summon(monkeypatch: pytest.MonkeyPatch, directory: Path, script: str) -> bytes:
    """What is made of the words of a script that takes a supervisor's place."""
    monkeypatch.setattr(sealed, "command", lambda *_: ["/bin/sh", "-c", script])
    paths = Paths("of", str(directory), str(directory))
    summons.begin(paths)
    try:
        return summons.summon(paths)
    finally:
        summons.dismiss(paths)


def test_one_that_is_begun_and_never_called_ends_with_the_command_and_touches_nothing(
    containers: Containers,
) -> None:
    os.makedirs(containers.paths.records)
    assert_it_ends_with_its_command(containers, lambda: begin(containers))

    assert os.listdir(containers.paths.fabric_run) == ["containers"]


@pytest.mark.parametrize("is_waiting", [False, True])
def test_nothing_is_left_of_one_that_was_begun_in_vain(containers: Containers, is_waiting: bool) -> None:
    begin(containers) if is_waiting else summons.begin(containers.paths)

    summons.dismiss(containers.paths)

    assert containers.supervisor() == 0


def test_one_that_is_begun_is_the_one_that_serves(containers: Containers) -> None:
    begin(containers)
    begun = containers.supervisor()

    containers.start("sleep", "infinity")

    assert containers.supervisor() == begun


def test_one_that_ended_before_it_was_called_is_replaced(containers: Containers) -> None:
    begin(containers)
    begun = containers.supervisor()
    pidfd = os.pidfd_open(begun)
    os.kill(begun, signal.SIGKILL)
    wait_for_end(pidfd)

    assert containers.shell("echo up") == "up\n"


def test_one_that_is_begun_while_another_comes_to_serve_is_let_go(containers: Containers) -> None:
    begin(containers)
    late = summons._begun.pop(containers.paths)
    containers.start("sleep", "infinity")
    summons._begun[containers.paths] = late

    client.ensure_supervisor(containers.paths)

    assert not summons._begun
    with pytest.raises(ChildProcessError):
        os.waitpid(late.pid, 0)


def test_one_is_called_as_soon_as_there_is_a_container(containers: Containers) -> None:
    begin(containers)

    client.halt(containers.paths, containers.spec("true"))

    assert summons._begun[containers.paths].way.recv(len(READY), MSG_PEEK) == READY
    client.remove(containers.paths, ["web"])


def test_one_that_was_called_ends_with_a_command_that_is_killed_before_it_asks(
    containers: Containers,
) -> None:
    def call() -> None:
        begin(containers)
        client.halt(containers.paths, containers.spec("true"))
        summons.summon(containers.paths)

    assert_it_ends_with_its_command(containers, call)
    client.remove(containers.paths, ["web"])


def test_nothing_is_left_of_one_that_was_called_in_vain(containers: Containers) -> None:
    begin(containers)
    client.halt(containers.paths, containers.spec("true"))

    client.remove(containers.paths, ["web"])

    assert not os.path.exists(containers.paths.fabric_run)


def test_one_that_is_killed_between_its_answer_and_the_first_request_is_replaced(
    containers: Containers,
) -> None:
    os.makedirs(containers.paths.records)
    begin(containers)
    summons.summon(containers.paths)
    pidfd = os.pidfd_open(containers.supervisor())
    os.kill(containers.supervisor(), signal.SIGKILL)
    wait_for_end(pidfd)

    assert containers.shell("echo up") == "up\n"


def test_an_apply_begins_one_before_its_first_change_and_has_it_end_where_it_fails(tmp_path: Path) -> None:
    before, begun = own_children(), []

    def refuse(_: object) -> bool:
        begun.append(len(summons._begun))
        return True

    with pytest.raises(Several):
        fabric.apply(*topology(tmp_path, text=PROGRAM), HERE._replace(hook=refuse))

    assert begun[0] == 1
    assert not summons._begun
    assert own_children() <= before


def test_an_apply_of_programs_that_run_begins_none(tmp_path: Path) -> None:
    wanted = topology(tmp_path, text=PROGRAM)
    fabric.apply(*wanted)
    begun = []

    def look(_: object) -> bool:
        begun.append(len(summons._begun))
        return False

    try:
        more = topology(tmp_path, text=PROGRAM.replace("{web", "{db: {networks: [lan]}, web"))
        fabric.apply(*more, HERE._replace(hook=look))
    finally:
        fabric.destroy("shop")

    assert set(begun) == {0}


def test_a_callers_descriptors_are_not_kept(containers: Containers) -> None:
    listen, tell = os.pipe()
    os.set_inheritable(tell, True)

    containers.start("sleep", "infinity")
    os.close(tell)

    assert select.select([listen], [], [], 20)[0]


def test_what_an_interpreter_says_before_the_word_is_no_answer_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert summon(monkeypatch, tmp_path, r"echo noise; head -c1 >/dev/null; printf '\0+'") == READY


def test_one_that_fails_after_the_word_is_not_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RuntimeFailed, match="it said nothing"):
        summon(monkeypatch, tmp_path, f"head -c1 >/dev/null; echo >>{tmp_path}/begun")

    assert (tmp_path / "begun").read_text() == "\n"


def test_a_process_that_can_not_be_had_is_told_as_what_keeps_it_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fork() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fork)

    with pytest.raises(RuntimeFailed, match=r"supervisor of of did not start.*temporarily unavailable"):
        summons.summon(Paths("of", str(tmp_path), str(tmp_path)))


@sealed_only
def test_a_helper_that_was_killed_before_it_was_asked_is_replaced(containers: Containers) -> None:
    containers.start("sleep", "infinity")
    helper.begin()
    pidfd = os.pidfd_open(helper._begun[0].pid)
    os.kill(helper._begun[0].pid, signal.SIGKILL)
    wait_for_end(pidfd)

    assert run_in_container(containers.paths, "web", ("true",)) == 0


@sealed_only
def test_nothing_is_left_of_a_helper_that_was_begun_in_vain() -> None:
    before = own_children()
    helper.begin()

    helper.dismiss()

    assert own_children() <= before


@sealed_only
def test_a_helper_that_is_begun_in_vain_ends_with_its_command() -> None:
    listen, tell = os.pipe()
    command = os.fork()
    if command == 0:
        helper.begin()
        os.write(tell, helper._begun[0].pid.to_bytes(8))
        signal.pause()
    begun = os.pidfd_open(int.from_bytes(os.read(listen, 8)))

    os.kill(command, signal.SIGKILL)
    os.waitpid(command, 0)

    assert select.select([begun], [], [], 20)[0]


@sealed_only
def test_a_helper_whose_caller_was_killed_before_it_could_know_runs_nothing(containers: Containers) -> None:
    containers.start("sleep", "infinity")
    wanted = _Wanted("web", ("touch", "/ran"), False, None, None, (), False, None)
    listen, tell = os.pipe()
    command = os.fork()
    if command == 0:
        helper.begin()
        os.kill(helper._begun[0].pid, signal.SIGSTOP)  # as a busy machine does
        begun = helper.ask(OWN_STREAMS, json.dumps([containers.paths, wanted, True, False]).encode())
        os.write(tell, begun.pid.to_bytes(8))
        signal.pause()
    pid = int.from_bytes(os.read(listen, 8))
    begun = os.pidfd_open(pid)

    os.kill(command, signal.SIGKILL)
    os.waitpid(command, 0)
    os.kill(pid, signal.SIGCONT)
    wait_for_end(begun)

    assert containers.exec("test", "-e", "/ran")[0] == 1


@pytest.mark.parametrize("is_sealed", [pytest.param(True, marks=sealed_only), False])
def test_its_mounts_are_its_own(
    containers: Containers, monkeypatch: pytest.MonkeyPatch, is_sealed: bool
) -> None:
    monkeypatch.setattr(sealed, "must_be_sealed", lambda: is_sealed)

    containers.start("sleep", "infinity")

    assert os.readlink(f"/proc/{containers.supervisor()}/ns/mnt") != os.readlink("/proc/self/ns/mnt")
