"""Containers of plain crun and runc."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest
from managers import Bundle, run

from netfab.errors import NoGuest
from netfab.guests.find import everyone, find
from netfab.guests.opening import open_namespace
from netfab.guests.sources import Sources

HERE = Sources()


@pytest.fixture(params=["crun", "runc"])
def runtime(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def bundle(group: str, runtime: str, tmp_path: Path, rootfs: Path) -> Iterator[Bundle]:
    made = Bundle(runtime, tmp_path / "bundle", rootfs, group)
    made.start("web")
    try:
        yield made
    finally:
        made.delete("web")


def test_a_container_is_found_by_its_name_and_its_namespace_opened(bundle: Bundle, runtime: str) -> None:
    guest = find("web", HERE)

    assert guest == find(f"{runtime}:web", HERE)
    assert (guest.label, guest.name) == (f"{runtime}:web", "web")
    assert f'"pid": {guest.pid}' in run(runtime, "state", "web")
    assert list(everyone(HERE)) == [guest]
    fd = open_namespace(guest)
    assert os.fstat(fd).st_ino == os.stat(f"/proc/{guest.pid}/ns/net").st_ino
    os.close(fd)


def test_a_container_whose_process_was_killed_does_not_run(bundle: Bundle, runtime: str) -> None:
    pid = find("web", HERE).pid
    assert pid is not None
    ended = select.poll()
    ended.register(os.pidfd_open(pid), select.POLLIN)
    bundle.kill("web")
    ended.poll()

    with pytest.raises(NoGuest, match=f"{runtime}:web does not run"):
        find("web", HERE)
