"""LXC's containers, on either version of cgroups, and on the machine's own mix."""

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
on_both = pytest.mark.parametrize("group", ["cgroup", "cgroup2"], indirect=True)


@pytest.fixture
def lxc(group: str, rootfs: Path) -> Iterator[managers.Lxc]:
    with managers.lxc(rootfs, group) as client:
        yield client


@on_both
def test_a_container_is_found_by_its_name_and_its_namespace_opened(lxc: managers.Lxc) -> None:
    lxc.create("box")
    lxc.start("box")

    guest = find("box", HERE)

    assert guest == find("lxc:box", HERE)
    assert (guest.label, guest.name) == ("lxc:box", "box")
    assert "/payload.box\n" in Path(f"/proc/{guest.pid}/cgroup").read_text()
    assert list(everyone(HERE)) == [guest]
    fd = open_namespace(guest)
    assert os.fstat(fd).st_ino == os.stat(f"/proc/{guest.pid}/ns/net").st_ino
    os.close(fd)


@on_both
def test_a_container_that_was_stopped_does_not_run_and_went_away(lxc: managers.Lxc) -> None:
    lxc.create("box")
    lxc.start("box")
    guest = find("box", HERE)
    lxc.stop("box")

    with pytest.raises(NoGuest, match="lxc:box does not run"):
        find("box", HERE)
    with pytest.raises(GuestGone, match="the guest went away: lxc:box"):
        open_namespace(guest)


def test_a_container_on_the_hosts_network_is_refused(lxc: managers.Lxc) -> None:
    lxc.create("box", network="none")
    lxc.start("box")

    with pytest.raises(NoGuest, match="lxc:box has no network of its own"):
        find("box", HERE)
