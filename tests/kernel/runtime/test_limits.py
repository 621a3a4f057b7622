"""Limits for real: memory, processes, processor time; and changing them while a program runs."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from containers import PYTHON, Containers

from netfab.errors import NetfabError, Unsupported
from netfab.runtime import client
from netfab.runtime.cgroups import (
    existing_leaves,
    find_hierarchies,
    hold_group,
    leaves_of,
    limits_of,
    make_leaves,
    remove_group,
    remove_leaves,
)
from netfab.system.process import user_namespace_is_initial


@pytest.fixture(autouse=True)
def limits_exist_here(containers: Containers) -> None:
    """An ordinary user's user namespace has no cgroups, and limits are refused there."""
    os.makedirs(containers.paths.fabric_run)
    try:
        leaves_of(containers.spec("true", memory=1, cpus=1.0, pids=1), find_hierarchies(containers.paths))
    except Unsupported as reason:
        if user_namespace_is_initial():
            raise  # root has limits wherever the kernel has controllers, or the runtime is wrong
        pytest.skip(str(reason))


def test_a_memory_hog_is_killed_and_reported_as_out_of_memory(containers: Containers) -> None:
    code, _ = containers.run(PYTHON, "-c", "x = b'x' * (256 << 20)", memory=32 << 20)

    assert code == 137
    assert containers.status().oom


def test_a_program_within_its_memory_is_left_alone(containers: Containers) -> None:
    code, _ = containers.run(PYTHON, "-c", "x = b'x' * (16 << 20)", memory=256 << 20)

    assert (code, containers.status().oom) == (0, False)


def test_a_fork_bomb_stops_at_its_number_of_processes(containers: Containers) -> None:
    text = containers.python(
        "import os, time\nn = 0\ntry:\n"
        " while True:\n"
        "  if os.fork() == 0: time.sleep(60)\n"
        "  n += 1\n"
        "except BlockingIOError: print(n)",
        pids=20,
    )

    assert int(text) == 19  # and itself


def value_of(containers: Containers, *files: str) -> list[str]:
    leaves = existing_leaves("web", find_hierarchies(containers.paths))
    return [
        Path(leaf.path, file).read_text().strip()
        for leaf in leaves
        for file in files
        if Path(leaf.path, file).exists()
    ]


def test_a_share_of_the_processor_is_written_where_the_kernel_keeps_it(containers: Containers) -> None:
    containers.start("sleep", "inf", cpus=0.5)

    assert value_of(containers, "cpu.max", "cpu.cfs_quota_us") in (["50000 100000"], ["50000"])


def test_who_has_a_quarter_of_a_processor_takes_four_times_as_long(containers: Containers) -> None:
    burn = (
        "import time; began = time.monotonic()\n"
        "while time.process_time() < 0.25: pass\n"
        "print(time.monotonic() - began)"
    )

    assert float(containers.python(burn, cpus=0.25)) > 0.6  # 1 s, less the first and the last period


def test_limits_change_on_a_running_program(containers: Containers) -> None:
    before = containers.start("sleep", "inf", pids=50)

    client.update(containers.paths, containers.spec("sleep", "inf", pids=20))

    assert value_of(containers, "pids.max") == ["20"]
    assert containers.status().pid == before.pid
    assert containers.status().spec.pids == 20


def test_a_first_limit_reaches_what_the_program_has_started_before(containers: Containers) -> None:
    containers.start("sh", "-c", "sleep inf & sleep inf & echo up; wait")
    containers.says("up")

    client.update(
        containers.paths, containers.spec("sh", "-c", "sleep inf & sleep inf & echo up; wait", pids=20)
    )

    assert value_of(containers, "pids.current") == ["3"]


def test_what_is_fixed_does_not_change_on_a_running_program(containers: Containers) -> None:
    containers.start("sleep", "inf")

    with pytest.raises(NetfabError, match="only limits and the restart policy"):
        client.update(containers.paths, containers.spec("sleep", "1"))


def test_the_restart_policy_changes_on_a_running_program(containers: Containers) -> None:
    script = "echo up; while test ! -e /go; do sleep 0.01; done; exit 1"
    containers.start("sh", "-c", script)
    containers.says("up")

    client.update(containers.paths, containers.spec("sh", "-c", script, restart="on-failure:1"))
    containers.exec("touch", "/go")
    containers.output()

    assert containers.status().restarts == 1


def test_a_container_sees_its_limit_below_sys(containers: Containers) -> None:
    text = containers.shell("cat $(find /sys/fs/cgroup -name pids.max)", pids=33)

    assert text.split() == ["33"]


def test_a_limited_container_leaves_no_cgroup(containers: Containers) -> None:
    containers.run("true", memory=64 << 20, cpus=0.5, pids=10)

    assert limits_of(containers.status().spec).keys() == {"memory", "cpu", "pids"}
    assert existing_leaves("web", find_hierarchies(containers.paths)) == []


def test_what_a_killed_sandbox_left_is_swept_and_what_others_hold_is_not(containers: Containers) -> None:
    hierarchies = find_hierarchies(containers.paths)
    if hierarchies.v2 is None:
        pytest.skip("this machine mounts no cgroup v2")
    abandoned, held = (
        Path(hierarchies.v2, "netfab", f"{containers.paths.fabric}.{name}") for name in ("gone", "held")
    )
    Path(abandoned, "web").mkdir(parents=True)
    lock = hold_group(hierarchies._replace(group=held.name))

    containers.start("sleep", "inf")

    assert not abandoned.exists()
    assert held.exists()
    held.rmdir()
    os.close(lock)


def test_others_that_remove_what_is_empty_keep_no_limit_from_being_made(containers: Containers) -> None:
    hierarchies = find_hierarchies(containers.paths)
    spec = containers.spec("true", memory=1 << 26, cpus=0.5, pids=9)
    lock = hold_group(hierarchies)  # as a supervisor does
    child = os.fork()
    if child == 0:
        while True:
            for point in hierarchies.points:
                with suppress(OSError):
                    os.rmdir(f"{point}/netfab")

    try:
        for _ in range(300):
            leaves = make_leaves(spec, hierarchies)
            remove_leaves(leaves)
            for point in hierarchies.points[1:]:
                with suppress(FileNotFoundError):  # the freezer's, of version 1
                    os.rmdir(f"{point}/netfab/{hierarchies.group}")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        remove_group(hierarchies)
    os.close(lock or 0)

    assert leaves
