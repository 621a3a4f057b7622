"""attach and detach with containers of the real managers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import managers
import pytest

from netfab import fabric
from netfab.imperative import adhoc


@pytest.fixture
def docker(group: str, rootfs: Path) -> Iterator[managers.Docker]:
    with managers.docker(rootfs, group) as client:
        yield client


@pytest.fixture
def podman(group: str, rootfs: Path) -> Iterator[managers.Podman]:
    with managers.podman(rootfs, group) as client:
        yield client


@pytest.fixture
def lxc(group: str, rootfs: Path) -> Iterator[managers.Lxc]:
    with managers.lxc(rootfs, group) as client:
        yield client


def attach(guest: str, *words: str) -> None:
    adhoc.attach(adhoc.request_of("br7", guest, words))


def attached() -> list[str]:
    return [one.title for one in adhoc.attachments()]


def test_a_container_of_docker_and_one_of_podman_talk_over_one_bridge(
    docker: managers.Docker, podman: managers.Podman
) -> None:
    docker.run("web")
    podman.run("db")

    attach("web", "10.7.0.2/24")
    attach("podman:db", "10.7.0.3/24")

    said = docker("exec", "web", "/bin/busybox", "ping", "-c", "1", "-W", "9", "10.7.0.3")
    assert "1 packets received" in said


def test_a_restarted_container_is_attached_again_and_a_removed_one_forgotten(docker: managers.Docker) -> None:
    docker.run("web")
    attach("web", "10.7.0.2/24@10.7.0.1")
    docker("restart", "--time=0", "web")

    drift = fabric.drift("adhoc")
    adhoc.reconcile("adhoc")
    inside = docker("exec", "web", "/bin/busybox", "ip", "-4", "address", "show", "eth1")
    docker("rm", "--force", "web")
    adhoc.reconcile("adhoc")

    assert drift != ()
    assert "10.7.0.2/24" in inside
    assert attached() == []


def test_a_stopped_container_is_remembered(podman: managers.Podman) -> None:
    podman.run("web")
    attach("web", "10.7.0.2/24")
    podman("stop", "--time=0", "web")
    adhoc.reconcile("adhoc")
    stopped = attached()

    podman("start", "web")
    adhoc.reconcile("adhoc")

    assert stopped == ["web"]
    assert "10.7.0.2/24" in podman("exec", "web", "/bin/busybox", "ip", "-4", "address", "show", "eth1")


def test_a_container_of_lxc_gets_an_interface_and_loses_it(lxc: managers.Lxc) -> None:
    lxc.create("web")
    lxc.start("web")

    attach("lxc:web", "10.7.0.2/24")
    given = ports("br7")
    adhoc.detach("br7", "web")

    assert len(given) == 1
    assert attached() == []


@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_a_container_of_a_bare_runtime_gets_an_interface_and_loses_it(
    runtime: str, group: str, rootfs: Path, tmp_path: Path
) -> None:
    bundle = managers.Bundle(runtime, tmp_path / "bundle", rootfs, group)
    bundle.start("web")
    try:
        attach(f"{runtime}:web", "10.7.0.2/24")
        given = ports("br7")
        adhoc.detach("br7", "web")
    finally:
        bundle.delete("web")

    assert len(given) == 1
    assert attached() == []


def test_a_container_of_docker_is_a_node_of_a_topology(docker: managers.Docker, tmp_path: Path) -> None:
    docker.run("legacy-db")
    file = tmp_path / "shop.yaml"
    file.write_text(
        "name: shop\nnetworks: {back: {subnet: 10.55.0.0/24}}\n"
        "nodes: {web: {networks: [back]},"
        " legacy: {attach: 'docker:legacy-db', networks: {back: {ip: 10.55.0.9}}}}\n"
    )

    fabric.apply(fabric.load(str(file)), str(file))
    said = docker("exec", "legacy-db", "/bin/busybox", "ping", "-c", "1", "-W", "9", "10.55.0.2")
    fabric.destroy("shop")

    assert "1 packets received" in said
    assert "eth1" not in docker("exec", "legacy-db", "/bin/busybox", "ip", "link")


def ports(bridge: str) -> list[str]:
    printed = subprocess.run(
        ["ip", "-j", "link", "show", "master", bridge], check=True, capture_output=True, text=True
    ).stdout
    return [link["ifname"] for link in json.loads(printed)]
