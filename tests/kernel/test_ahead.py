"""Namespaces that are made ahead are as good as any, may fail to come, and go when nobody takes them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from shop import TEXT, topology

from netfab import fabric
from netfab.errors import SubnetTaken
from netfab.kernel import ahead, netns


@pytest.fixture(autouse=True)
def few_are_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netns, "FEWEST", 1)


def children() -> bool:
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    return True


def test_nodes_have_the_namespaces_that_were_made_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(netns, "new_namespace", lambda group: pytest.fail("one was made late"))

    fabric.apply(*topology(tmp_path))

    assert fabric.drift("shop") == ()


def test_those_that_do_not_come_are_made_when_they_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "_make", lambda parent, count, group: None)

    fabric.apply(*topology(tmp_path))

    assert fabric.drift("shop") == ()


def test_nothing_is_left_of_them_when_the_plan_fails(tmp_path: Path) -> None:
    taken = "ip link add x type bridge; ip address add 10.9.0.1/24 dev x; ip link set x up"
    subprocess.run(["sh", "-ec", taken], check=True)
    wrong = topology(tmp_path, text=TEXT.replace("lan: {}", "lan: {subnet: 10.9.0.0/24}"))

    with pytest.raises(SubnetTaken):
        fabric.apply(*wrong)

    assert not children()
