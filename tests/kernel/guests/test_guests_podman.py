"""Podman's containers, mostly found without its API service, which mostly does not run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import managers
import pytest

from netfab.errors import GuestGone, NoGuest
from netfab.guests.find import everyone, find
from netfab.guests.opening import open_namespace
from netfab.guests.sources import Sources

HERE = Sources()


@pytest.fixture
def podman(group: str, rootfs: Path) -> Iterator[managers.Podman]:
    with managers.podman(rootfs, group) as client:
        yield client


@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_a_container_is_found_by_name_and_id_and_its_namespace_opened(
    podman: managers.Podman, runtime: str
) -> None:
    id = podman.run("web", runtime)

    guest = find("web", HERE)

    assert guest == find(id, HERE) == find(id[:12], HERE) == find(f"podman:{id[:3]}", HERE)
    assert (guest.label, guest.name) == (f"podman:{id}", "web")
    assert str(guest.pid) == podman("inspect", "--format", "{{.State.Pid}}", "web")
    assert list(everyone(HERE)) == [guest]
    fd = open_namespace(guest)
    assert os.fstat(fd).st_ino == os.stat(f"/proc/{guest.pid}/ns/net").st_ino
    os.close(fd)


@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_the_api_service_tells_the_same(podman: managers.Podman, runtime: str) -> None:
    podman.run("web", runtime)
    without = find("web", HERE)

    with podman.service():
        told = find("web", HERE._replace(storage=(), crun="/nowhere", runc="/nowhere"))

    assert told == without


def test_a_container_that_is_removed_when_it_ends_is_found(podman: managers.Podman) -> None:
    id = podman.run("web", "crun", "--rm")

    assert find("web", HERE).id == id


def test_a_container_that_was_stopped_does_not_run_and_a_restart_is_another_run(
    podman: managers.Podman,
) -> None:
    podman.run("web")
    before = find("web", HERE)
    podman("stop", "--time=0", "web")

    with pytest.raises(NoGuest, match=r"podman:[0-9a-f]{12} \(web\) does not run"):
        find("web", HERE)
    with pytest.raises(GuestGone):
        open_namespace(before)
    podman("start", "web")

    after = find("web", HERE)
    assert after.id == before.id
    assert after.started != before.started


def test_a_container_on_the_hosts_network_is_refused(podman: managers.Podman) -> None:
    podman.run("web", "crun", "--network=host")

    with pytest.raises(NoGuest, match="has no network of its own: it is in this host's"):
        find("web", HERE)
