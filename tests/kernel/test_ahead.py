"""Namespaces that are made ahead are as good as any, may fail to come, and go when nobody takes them."""

from __future__ import annotations

import os
import select
import subprocess
from pathlib import Path

import pytest
from own_children import own_children
from shop import TEXT, topology

from netfab import fabric
from netfab.errors import SubnetTaken
from netfab.kernel import ahead, netns
from netfab.kernel.dumps import lo


@pytest.fixture(autouse=True)
def few_are_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netns, "FEWEST", 1)


def test_those_that_the_child_has_made_are_taken() -> None:
    made = ahead.Ahead(3, 7)
    assert made._worker is not None
    select.select([made._worker.socket], [], [])

    taken = [made.take() for _ in range(3)]
    made.close()

    assert [netlink is not None and lo(netlink).group for netlink in taken] == [7, 7, 7]
    assert not any(os.get_inheritable(netlink.fileno()) for netlink in taken if netlink is not None)


def test_those_that_the_child_has_not_begun_are_for_the_taker_to_make(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ahead, "_make", lambda group, parent, left: parent.recv(1))  # till the other end goes
    made = ahead.Ahead(3, 7)

    taken = [made.take() for _ in range(3)]

    assert taken == [None, None, None]
    assert made._worker is not None
    assert os.read(made._worker.left, 3) == b""
    made.close()


def test_those_that_do_not_come_are_made_when_they_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "_make", lambda group, parent, left: os.read(left, 1))

    fabric.apply(*topology(tmp_path))

    assert fabric.drift("shop") == ()


def test_nothing_is_left_of_them_when_the_plan_fails(tmp_path: Path) -> None:
    taken = "ip link add x type bridge; ip address add 10.9.0.1/24 dev x; ip link set x up"
    subprocess.run(["sh", "-ec", taken], check=True)
    wrong = topology(tmp_path, text=TEXT.replace("lan: {}", "lan: {subnet: 10.9.0.0/24}"))
    before = own_children()

    with pytest.raises(SubnetTaken):
        fabric.apply(*wrong)

    assert own_children() <= before
