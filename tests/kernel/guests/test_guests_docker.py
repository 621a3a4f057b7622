"""Docker's containers, of a dockerd that runs in the test's own namespaces."""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import managers
import pytest

from netfab.errors import GuestGone, NoGuest
from netfab.guests.find import everyone, find
from netfab.guests.opening import open_namespace
from netfab.guests.sources import Sources
from netfab.kernel.dumps import links
from netfab.kernel.facts import gather
from netfab.kernel.netlink import Netlink
from netfab.plan.subnets import Reservation

HERE = Sources()


@pytest.fixture
def docker(group: str, rootfs: Path) -> Iterator[managers.Docker]:
    with managers.docker(rootfs, group) as client:
        yield client


def test_a_container_is_found_by_name_and_id_and_its_namespace_opened(docker: managers.Docker) -> None:
    id = docker.run("web")
    docker("create", "--name", "idle", "box", "sleep")

    guest = find("web", HERE)

    assert guest == find(id, HERE) == find(id[:12], HERE) == find(f"docker:{id[:12]}", HERE)
    assert (guest.label, guest.name) == (f"docker:{id}", "web")
    assert str(guest.pid) == docker("inspect", "--format", "{{.State.Pid}}", "web")
    assert list(everyone(HERE)) == [guest]
    fd = open_namespace(guest)
    assert os.fstat(fd).st_ino == os.stat(f"/proc/{guest.pid}/ns/net").st_ino
    os.close(fd)


def test_a_container_that_was_never_started_or_is_on_the_hosts_network_is_refused(
    docker: managers.Docker,
) -> None:
    docker("create", "--name", "idle", "box", "sleep")
    docker.run("open", "--network=host")

    with pytest.raises(NoGuest, match=r"\(idle\) does not run \(created\)"):
        find("idle", HERE)
    with pytest.raises(NoGuest, match=r"\(open\) has no network of its own: it is in this host's"):
        find("open", HERE)


def test_networks_of_docker_are_kept_clear_of(docker: managers.Docker) -> None:
    docker("network", "create", "--subnet=10.9.0.0/24", "lan")
    netlink = Netlink()

    found = gather("shop", netlink, links(netlink))

    netlink.close()
    assert Reservation(ip_network("10.9.0.0/24"), "docker network lan") in found.reservations


def test_a_restart_is_another_run_of_the_same_guest(docker: managers.Docker) -> None:
    docker.run("web")
    before = find("web", HERE)

    docker("restart", "--time=0", "web")

    after = find("web", HERE)
    assert after.label == before.label
    assert after.started != before.started
    with pytest.raises(GuestGone, match="the guest went away: docker:"):
        open_namespace(before)
