"""A first apply that was killed: what there is of it is told, made whole, or gone; it is no fabric."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from kills import is_killed
from machine import differences, snapshot
from shop import TEXT, topology

from netfab import fabric
from netfab.errors import NetfabError, SubnetTaken
from netfab.topology.schema import Topology

Applied = tuple[Topology, str]
FAILS = TEXT.replace("web: {", "web: {exec: [['false']], ")
NEVER_WHOLE = "fabric shop is not fully applied: its first apply still runs, or was killed"


def kernel() -> dict[str, frozenset[object]]:
    """Without the files of the store, which a reader changes, too."""
    found = snapshot()
    return {what: found[what] for what in ("links", "addresses", "routes", "/run/netns")}


@pytest.fixture
def shop(host: object, tmp_path: Path) -> Applied:
    """Some of it is there: the fourth step was the last."""
    wanted = topology(tmp_path)
    assert is_killed(5, lambda where: fabric.apply(*wanted, where))
    return wanted


def test_it_is_neither_drift_nor_repaired(shop: Applied) -> None:
    before = kernel()

    with pytest.raises(NetfabError, match=NEVER_WHOLE) as drift:
        fabric.drift("shop")
    with pytest.raises(NetfabError, match=NEVER_WHOLE):
        fabric.reconcile("shop")

    assert drift.value.hint == (
        f"`netfab apply {shop[1]}` completes it, `netfab destroy shop` removes what there is"
    )
    assert differences(before, kernel()) == []


def test_the_next_apply_makes_it_whole(shop: Applied) -> None:
    assert not fabric.status("shop")["whole"]

    fabric.apply(*shop)

    assert fabric.status("shop")["whole"]
    assert fabric.drift("shop") == ()


def test_destroy_removes_it(shop: Applied) -> None:
    fabric.destroy("shop")

    assert fabric.records() == []


def test_an_apply_that_fails_after_it_goes_back_to_nothing(shop: Applied, tmp_path: Path) -> None:
    with pytest.raises(NetfabError, match="web: exec: false: exit status 1") as failed:
        fabric.apply(*topology(tmp_path, text=FAILS))

    assert failed.value.hint.startswith("nothing is left, neither of this apply nor of the one before")
    assert not failed.value.undone
    assert fabric.records() == []
    assert [link for link in snapshot()["links"] if "shop" in str(link) or "br-lan" in str(link)] == []


def test_a_file_that_can_not_be_planned_leaves_it_as_it_is(shop: Applied, tmp_path: Path) -> None:
    taken = "ip link add x type bridge; ip address add 10.9.0.1/24 dev x; ip link set x up"
    subprocess.run(["sh", "-ec", taken], check=True)
    wrong = topology(tmp_path, text=TEXT.replace("lan: {}", "lan: {subnet: 10.9.0.0/24}"))
    before = kernel()

    with pytest.raises(SubnetTaken):
        fabric.apply(*wrong)

    assert [record.whole for record in fabric.records()] == [False]
    assert differences(before, kernel()) == []


def test_of_a_fabric_without_objects_it_is_whole_when_it_was_applied(host: object, tmp_path: Path) -> None:
    fabric.apply(*topology(tmp_path, text="nodes: {}"))

    assert fabric.drift("shop") == ()
