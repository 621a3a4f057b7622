"""`netfab watch`, the command, beside damages and restarts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import managers
import pytest

from netfab import fabric
from netfab.imperative import adhoc
from netfab.runtime.logs import tail
from netfab.runtime.paths import Paths
from netfab.runtime.status import any_lives
from netfab.system.process import user_namespace_is_initial
from netfab.where import HERE

SHOP = "name: shop\nnetworks: {back: {}}\nnodes: {web: {networks: [back]}}\n"
SELDOM = "3600"  # seconds: only events count
Watching = Callable[..., "subprocess.Popen[str]"]


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def has(guest: str, text: str) -> bool:
    shown = subprocess.run(["ip", "-n", guest, "address"], capture_output=True, text=True).stdout
    return text in shown


@pytest.fixture
def watching() -> Iterator[Watching]:
    """Starts the command; it ends with the test, and must end well."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str, every: str = SELDOM) -> subprocess.Popen[str]:
        command = [Path(sys.executable).parent / "netfab", "watch", "--every", every, *words]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


@pytest.fixture
def blue() -> str:
    ip("netns", "add", "blue")
    adhoc.attach(adhoc.request_of("br7", "netns:blue", ["10.7.0.2/24"]))
    return "blue"


def test_what_was_damaged_before_it_came_is_repaired_and_told(blue: str, watching: Watching) -> None:
    ip("-n", blue, "address", "flush", "dev", "eth1")

    process = watching()

    assert process.stdout is not None
    assert "10.7.0.2/24" in process.stdout.readline()
    assert has(blue, "10.7.0.2/24")


def test_a_link_that_goes_down_is_up_again_without_waiting(blue: str, watching: Watching) -> None:
    ready(watching())

    ip("-n", blue, "link", "set", "eth1", "down")

    managers.until(lambda: has(blue, "UP,LOWER_UP"), "eth1 is not up again")


def test_what_nobody_tells_is_seen_before_long(blue: str, watching: Watching) -> None:
    ready(watching(every="0.2"))

    ip("-n", blue, "address", "flush", "dev", "eth1")

    managers.until(lambda: has(blue, "10.7.0.2/24"), "the address is not there again")


def test_a_namespace_that_goes_is_forgotten(blue: str, watching: Watching) -> None:
    ready(watching())

    ip("netns", "delete", blue)

    managers.until(lambda: adhoc.attachments() == [], "it is not forgotten")


def test_a_node_of_a_fabric_is_repaired_too(watching: Watching, tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(SHOP)
    fabric.apply(fabric.load(str(file)), str(file))
    ready(watching("shop"))

    ip("-n", "shop.web", "link", "set", "eth0", "down")

    managers.until(lambda: has("shop.web", "UP,LOWER_UP"), "eth0 is not up again")
    managers.until(lambda: fabric.drift("shop") == (), "the fabric differs")


@pytest.mark.skipif(not user_namespace_is_initial(), reason="programs need the machine's root")
def test_a_program_that_failed_is_its_restart_policys_business(watching: Watching, tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(SHOP.replace("nodes: {", "nodes: {job: {command: [sh, -c, echo ran; exit 3]}, "))
    fabric.apply(fabric.load(str(file)), str(file))
    paths = Paths("shop", HERE.run, HERE.state)
    managers.until(lambda: not any_lives(paths), "the job runs on")

    ready(watching("shop", every="0.2"))
    ip("-n", "shop.web", "link", "set", "eth0", "down")
    managers.until(lambda: has("shop.web", "UP,LOWER_UP"), "eth0 is not up again")

    managers.until(lambda: len(fabric.drift("shop")) == 1, "more than the job differs")

    assert tail(paths, "job") == [b"ran"]
    fabric.reconcile("shop")
    assert tail(paths, "job") == [b"ran", b"ran"]
    fabric.destroy("shop")


@pytest.fixture
def docker(group: str, rootfs: Path) -> Iterator[managers.Docker]:
    with managers.docker(rootfs, group) as client:
        yield client


def test_a_container_that_restarts_is_attached_again(docker: managers.Docker, watching: Watching) -> None:
    docker.run("web")
    adhoc.attach(adhoc.request_of("br7", "web", ["10.7.0.2/24"]))
    ready(watching())

    docker("restart", "--time=0", "web")

    def attached() -> bool:
        return "10.7.0.2/24" in docker("exec", "web", "/bin/busybox", "ip", "address")

    managers.until(attached, "it is not attached again")


def ready(process: subprocess.Popen[str]) -> None:
    """When its first look is over, it listens to signals and events."""
    listens = f"/proc/{process.pid}/fdinfo"

    def has_inotify() -> bool:
        for name in os.listdir(listens):
            with suppress(OSError):  # closed meanwhile
                if "inotify" in Path(listens, name).read_text():
                    return True
        return False

    managers.until(has_inotify, "it does not listen")
