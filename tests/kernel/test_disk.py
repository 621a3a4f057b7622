"""A full disk, a read-only one, a broken or lost store: apply leaves all as it was; destroy works."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from descriptors import descriptors, settled_descriptors
from machine import differences, snapshot
from shop import topology

from netfab import fabric
from netfab.applying.recovery import recover
from netfab.errors import NetfabError, StoreError
from netfab.fabric import Where
from netfab.system import linux
from netfab.topology.schema import Topology

STATE, RUN = "/var/lib/netfab", "/run/netfab"
STORE = f"{STATE}/store.sqlite"


@pytest.fixture
def shop(tmp_path: Path) -> tuple[Topology, str]:
    return topology(tmp_path)


def _small_disk(directory: str, kilobytes: int) -> None:
    os.makedirs(directory, 0o700, exist_ok=True)
    linux.mount("tmpfs", directory, "tmpfs", data=f"size={kilobytes}k,mode=0700")


def _fill(directory: str) -> None:
    with open(f"{directory}/filler", "wb", buffering=0) as filler:
        try:
            while filler.write(bytes(1024)):
                pass
        except OSError:
            return


def _read_only(directory: str) -> None:
    linux.mount("", directory, flags=linux.MS_REMOUNT | linux.MS_RDONLY)


def _broken(directory: str) -> None:
    Path(STORE).write_bytes(b"this is no database" * 999)


def _on_the_network() -> dict[str, frozenset[object]]:
    return {what: things for what, things in snapshot().items() if what not in (STATE, "mounts")}


@pytest.mark.parametrize("kilobytes", [4, 64, 256])
def test_apply_on_a_full_disk_changes_nothing_and_says_so(shop: tuple[Topology, str], kilobytes: int) -> None:
    _small_disk(STATE, kilobytes)
    _fill(STATE)
    before = _on_the_network()

    with pytest.raises(StoreError, match=r"store\.sqlite: the disk is full$"):
        fabric.apply(*shop)

    assert differences(before, _on_the_network()) == []


@pytest.mark.parametrize("kilobytes", [4, 64])
def test_a_store_that_cannot_be_opened_is_not_left_open(shop: tuple[Topology, str], kilobytes: int) -> None:
    _small_disk(STATE, kilobytes)
    _fill(STATE)
    before = settled_descriptors()

    with pytest.raises(StoreError):
        fabric.apply(*shop)

    assert descriptors() == before


def test_apply_whose_disk_is_full_when_it_is_done_undoes_what_it_did(shop: tuple[Topology, str]) -> None:
    _small_disk(STATE, 256)
    before = _on_the_network()

    with pytest.raises(StoreError, match="disk is full"):
        fabric.apply(*shop, Where(progress=lambda done, total, what: _fill(STATE)))

    assert differences(before, _on_the_network()) == []


def test_apply_that_cannot_write_a_nodes_files_undoes_the_rest_and_names_the_file(
    shop: tuple[Topology, str],
) -> None:
    _small_disk(RUN, 64)
    _fill(RUN)
    before = _on_the_network()

    with pytest.raises(NetfabError, match=r"create file \S+/hosts\S+: .*No space left on device \(ENOSPC\)"):
        fabric.apply(*shop)

    assert differences(before, _on_the_network()) == []


@pytest.mark.parametrize("trouble", [_fill, _read_only, _broken])
def test_destroy_needs_no_store_and_says_that_it_could_not_be_told(
    shop: tuple[Topology, str], trouble: Callable[[str], None]
) -> None:
    _small_disk(STATE, 256)
    before = _on_the_network()
    fabric.apply(*shop)
    trouble(STATE)

    with pytest.raises(StoreError, match="fabric shop is gone from this host, but not from the store"):
        fabric.destroy("shop")

    assert differences(before, _on_the_network()) == []


def test_destroy_works_when_the_store_is_lost(shop: tuple[Topology, str]) -> None:
    before = _on_the_network()
    fabric.apply(*shop)
    shutil.rmtree(STATE)

    fabric.destroy("shop")

    assert differences(before, _on_the_network()) == []


def test_destroy_works_when_there_is_no_room_for_its_lock(shop: tuple[Topology, str]) -> None:
    _small_disk(RUN, 64)
    fabric.apply(*shop)
    _fill(RUN)

    fabric.destroy("shop")

    assert [bridge["bridge"] for bridge in fabric.bridges()] == []
    assert os.listdir(RUN) == ["filler"]


def test_a_broken_store_is_refused_with_its_cure_and_the_cure_works(shop: tuple[Topology, str]) -> None:
    fabric.apply(*shop)
    _broken(STATE)

    with pytest.raises(StoreError) as refused:
        fabric.apply(*shop)
    lines = recover()

    assert "netfab recover" in refused.value.hint
    assert any("store.broken" in line for line in lines)
    assert fabric.apply(*shop)[1].changes == ()
