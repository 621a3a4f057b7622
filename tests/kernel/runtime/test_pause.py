"""Pausing: every process halts, nothing is lost, and whatever ends a container ends a paused one."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from containers import PYTHON, Containers

from netfab.errors import NetfabError
from netfab.runtime import client
from netfab.runtime.layers import mount_points
from netfab.system import linux

ANSWERS = (  # to SIGUSR1, its child too
    PYTHON,
    "-c",
    "import os, signal\n"
    "signal.signal(signal.SIGUSR1, lambda *_: os.write(1, b'heard\\n'))\n"  # print may be where it halts
    "child = os.fork()\n"
    "print(f'child {os.getpid()}' if child == 0 else 'up', flush=True)\n"
    "while True: signal.pause()",
)
EXITS_3 = "signal.signal(signal.SIGTERM, lambda *_: os._exit(3))"


@pytest.fixture(params=["as mounted here", "version 1"])
def freezer(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The machine's own cgroups; and, in this test's own view, version 1's freezer instead of version 2."""
    if request.param == "as mounted here":
        return
    directory = tmp_path / "freezer"
    directory.mkdir()
    try:
        linux.mount("cgroup", str(directory), "cgroup", data="freezer")
    except OSError:
        pytest.skip("this kernel has no cgroup freezer of version 1")
    for point, fstype in mount_points():
        if fstype == "cgroup2":
            linux.umount(point)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def unnoticed(pid: int) -> bool:
    """Whether a process has been sent a signal that it has not seen yet."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return any(int(line.split()[1], 16) for line in lines if line.startswith(("SigPnd:", "ShdPnd:")))


def test_a_paused_program_and_its_children_halt_and_then_go_on(freezer: None, containers: Containers) -> None:
    pid = containers.start(*ANSWERS).pid
    containers.says("up")
    everybody = [pid, *children(pid)]

    client.pause(containers.paths, ["web"])
    for one in everybody:
        os.kill(one, signal.SIGUSR1)
    halted = [unnoticed(one) for one in everybody]
    client.pause(containers.paths, ["web"], paused=False)

    assert halted == [True, True]
    containers.says("heard")
    assert containers.status().state == "running"


def test_a_paused_program_can_be_stopped_and_removed(freezer: None, containers: Containers) -> None:
    containers.start(*ANSWERS)
    client.pause(containers.paths, ["web"])
    assert (containers.status().state, containers.status().pid != 0) == ("paused", True)

    client.stop(containers.paths, ["web"])

    assert (containers.status().state, containers.status().exit_code) == ("stopped", 137)


def test_a_paused_program_handles_the_signal_that_stops_it(freezer: None, containers: Containers) -> None:
    containers.start(PYTHON, "-c", f"import os, signal\n{EXITS_3}\nprint('up', flush=True)\nsignal.pause()")
    containers.says("up")
    client.pause(containers.paths, ["web"])

    client.stop(containers.paths, ["web"], timeout=60)

    assert containers.status().exit_code == 3


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_signal_that_ends_a_program_ends_a_paused_one(
    freezer: None, containers: Containers, number: signal.Signals
) -> None:
    containers.start(PYTHON, "-c", f"import os, signal\n{EXITS_3}\nprint('up', flush=True)\nsignal.pause()")
    containers.says("up")
    client.pause(containers.paths, ["web"])

    client.send_signal(containers.paths, ["web"], number)
    containers.output()

    assert containers.status().exit_code == {signal.SIGKILL: 137, signal.SIGTERM: 3}[number]


def test_a_pause_outlives_the_supervisor(containers: Containers) -> None:
    containers.start(*ANSWERS)
    containers.says("up")
    client.pause(containers.paths, ["web"])

    containers.kill_supervisor()
    assert containers.status().state == "paused"
    client.pause(containers.paths, ["web"], paused=False)

    client.send_signal(containers.paths, ["web"], signal.SIGUSR1)
    containers.says("heard")


def test_nothing_runs_beside_a_paused_program(containers: Containers) -> None:
    containers.start("sleep", "inf")
    client.pause(containers.paths, ["web"])

    with pytest.raises(NetfabError, match="web is paused: `netfab unpause web`"):
        containers.exec("true")


def test_pausing_twice_and_what_does_not_run_is_refused(containers: Containers) -> None:
    containers.start("sleep", "inf")
    client.pause(containers.paths, ["web"])

    with pytest.raises(NetfabError) as refused:
        client.pause(containers.paths, ["web", "other"])

    assert str(refused.value) == "web is paused already\nother does not run"


def test_unpausing_what_is_not_paused_is_refused(containers: Containers) -> None:
    containers.start("sleep", "inf")

    with pytest.raises(NetfabError, match="web is not paused"):
        client.pause(containers.paths, ["web"], paused=False)


def test_without_a_cgroup_to_freeze_pausing_is_refused_and_it_runs_on(containers: Containers) -> None:
    for point, fstype in mount_points():
        if fstype in ("cgroup", "cgroup2"):
            linux.umount(point)
    containers.start("sleep", "inf")

    with pytest.raises(NetfabError, match="web: no writable cgroup hierarchy here can pause it"):
        client.pause(containers.paths, ["web"])

    assert containers.status().state == "running"
