"""Reading logs: whole, the last lines, as they come, and after their head was given back."""

from __future__ import annotations

import os
from collections.abc import Callable
from errno import ENXIO
from pathlib import Path
from typing import Any

import pytest
from containers import Containers

from netfab.runtime import client, logs
from netfab.runtime.logs import Line, follow, next_byte, tail
from netfab.runtime.rotation import LOG_LIMIT, trim
from netfab.runtime.status import connect
from netfab.system import linux
from netfab.system.poll import readable


def texts(containers: Containers, lines: int | None = None) -> list[str]:
    return [line.decode() for line in tail(containers.paths, "web", lines)]


def test_output_and_errors_are_in_one_log_in_their_order(containers: Containers) -> None:
    containers.run("sh", "-c", "echo one; echo two >&2; echo three")

    assert texts(containers) == ["one", "two", "three"]


def test_the_last_lines_are_the_last(containers: Containers) -> None:
    containers.run("sh", "-c", "seq 1 30000")

    assert texts(containers, 3) == ["29998", "29999", "30000"]
    assert texts(containers, 0) == []
    assert len(texts(containers)) == 30000


def test_who_stops_listening_leaves_nothing_open(containers: Containers) -> None:
    containers.start("sh", "-c", "echo one; sleep inf")
    before = os.listdir("/proc/self/fd")
    heard = follow([(containers.paths, "web")])

    next(heard)
    heard.close()

    assert set(os.listdir("/proc/self/fd")) <= set(before)  # what others' tests left may be closed meanwhile


def test_a_last_line_without_its_end_is_shown(containers: Containers) -> None:
    containers.run("sh", "-c", "echo one; printf two")

    assert texts(containers) == ["one", "two"]
    assert [line.text for line in follow([(containers.paths, "web")])] == [b"one", b"two"]


def test_a_guest_that_makes_its_log_endless_costs_no_more_than_a_long_one(containers: Containers) -> None:
    containers.run("sh", "-c", "truncate -s 1T /proc/self/fd/1; echo; echo last")

    assert texts(containers, 1) == ["last"]
    assert len(b"".join(tail(containers.paths, "web"))) <= 4 * LOG_LIMIT


def test_a_line_that_is_half_written_when_following_begins_is_told_whole(containers: Containers) -> None:
    containers.start(
        "sh", "-c", "printf 'one\\nhal'; until test -e /go; do sleep 0.01; done; echo f; echo two"
    )
    while containers.tail() != ["one", "hal"]:
        continue

    said = follow([(containers.paths, "web")])
    first = next(said).text
    containers.exec("touch", "/go")

    assert [first, *(line.text for line in said)] == [b"one", b"half", b"two"]


def test_what_is_written_while_a_reader_finds_the_end_is_not_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    os.write(log, b"one\n")

    def nothing_there_yet(*_: int) -> int:
        os.write(log, b"two\n")
        raise OSError(ENXIO, "no data")

    monkeypatch.setattr(os, "lseek", nothing_there_yet)

    assert next_byte(log, 4) == 4


def test_a_line_without_end_is_told_in_parts(containers: Containers) -> None:
    script = "echo up; while test ! -e /go; do sleep 0.01; done; head -c 3000000 /dev/zero"
    containers.start("sh", "-c", script)
    lines = follow([(containers.paths, "web")])
    assert next(lines).text == b"up"

    containers.exec("touch", "/go")
    parts = [line.text for line in lines]

    assert b"".join(parts) == bytes(3_000_000)
    assert max(map(len, parts)) < 1_200_000


def test_following_ends_with_the_container_and_shows_all_it_said(containers: Containers) -> None:
    containers.start("sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.02; done; printf end")

    assert [line.text for line in follow([(containers.paths, "web")])] == [b"1", b"2", b"3", b"end"]


def test_following_ends_with_the_container_when_no_supervisor_lives(containers: Containers) -> None:
    containers.start("sh", "-c", "echo up; while test ! -e /go; do sleep 0.01; done; echo done")
    containers.says("up")
    containers.kill_supervisor()

    containers.exec("touch", "/go")

    assert [line.text for line in follow([(containers.paths, "web")])] == [b"up", b"done"]


def test_following_ends_when_the_supervisor_is_killed_that_was_about_to_start_it_again(
    containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed_now(descriptors: list[int], seconds: float | None) -> list[int]:
        if containers.supervisor():
            containers.kill_supervisor()
        found = readable(descriptors, 10.0)
        assert found
        return found

    containers.start("echo", "once", restart="always")
    while containers.status().state != "restarting":
        continue
    monkeypatch.setattr(logs, "readable", killed_now)

    assert {line.text for line in follow([(containers.paths, "web")])} == {b"once"}


def test_who_follows_keeps_no_supervisor_from_ending(
    containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped_meanwhile(descriptors: list[int], seconds: float | None) -> list[int]:
        supervisor = os.pidfd_open(containers.supervisor())
        client.stop(containers.paths, ["web"])
        assert readable([supervisor], 10.0)
        os.close(supervisor)
        return readable(descriptors, seconds)

    containers.start("echo", "once", restart="always")
    while containers.status().state != "restarting":
        continue
    monkeypatch.setattr(logs, "readable", stopped_meanwhile)

    assert {line.text for line in follow([(containers.paths, "web")])} == {b"once"}


def test_who_follows_from_another_process_namespace_waits_and_sees_the_end(
    containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, telling = os.pipe()

    def told(what: bytes, does: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *given: os.write(telling, what) and does(*given)

    monkeypatch.setattr(logs, "connect", told(b"a", connect))
    monkeypatch.setattr(logs, "readable", told(b"w", readable))
    containers.start("sh", "-c", "echo one; sleep inf")
    if not (outside := os.fork()):
        linux.unshare(linux.CLONE_NEWPID)
        if not os.fork():
            os._exit(sum(1 for _ in follow([(containers.paths, "web")])))
        os._exit(os.waitstatus_to_exitcode(os.wait()[1]))

    assert os.read(reading, 1) + os.read(reading, 1) == b"aw"
    client.stop(containers.paths, ["web"])

    assert os.waitstatus_to_exitcode(os.waitpid(outside, 0)[1]) == 1
    os.close(reading)
    os.close(telling)


def test_several_are_followed_at_once_with_their_names(containers: Containers) -> None:
    for name in ("a", "b"):
        containers.start("sh", "-c", f"echo {name}1; sleep 0.02; echo {name}2", name=name)

    found = list(follow([(containers.paths, "a"), (containers.paths, "b")]))

    assert [line.text for line in found if line.name == "a"] == [b"a1", b"a2"]
    assert [line.text for line in found if line.name == "b"] == [b"b1", b"b2"]


def test_those_of_several_fabrics_are_followed_at_once(containers: Containers) -> None:
    other = containers.paths._replace(fabric="other")
    containers.start("sleep", "inf")
    client.start(other, containers.spec("echo", "heard")._replace(fabric="other"), containers.netns)
    heard = follow([(containers.paths, "web"), (other, "web")])

    found = next(heard)

    heard.close()
    client.remove(other, ["web"])
    assert found == Line("other", "web", b"heard")


def test_a_long_logs_head_goes_and_what_is_left_begins_with_a_whole_line(containers: Containers) -> None:
    containers.run("sh", "-c", "seq 100000 199999")
    path = containers.paths.log("web")

    trim(path, limit=200_000)

    left = texts(containers)
    assert os.stat(path).st_size == 700_000
    assert os.stat(path).st_blocks * 512 <= 200_000
    assert len(left[0]) == 6
    assert left == [str(number) for number in range(int(left[0]), 200_000)]


def test_a_short_log_keeps_its_head(containers: Containers) -> None:
    containers.run("sh", "-c", "seq 1 100")

    trim(containers.paths.log("web"), limit=200_000)

    assert len(texts(containers)) == 100
