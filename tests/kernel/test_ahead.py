"""Namespaces that are made ahead are as good as any, may fail to come, and go when nobody takes them.

They are bound when somebody asks for them; a command that fails or is killed before leaves what can be ended.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Callable
from errno import ENOMEM
from pathlib import Path
from typing import NoReturn

import pytest
from machine import differences, snapshot
from own_children import own_children
from shop import TEXT, topology

from netfab import fabric
from netfab.errors import KernelRefused, NetfabError, SubnetTaken
from netfab.kernel import ahead, netns
from netfab.kernel.dumps import lo
from netfab.objects.base import Hook
from netfab.objects.wire import Request
from netfab.where import Where

TWO = "networks: {lan: {}}\nnodes: {a: {networks: [lan]}, b: {networks: [lan]}}"


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


def test_one_that_nobody_asks_for_is_there_when_the_apply_has_ended(tmp_path: Path) -> None:
    fabric.apply(*topology(tmp_path, text="nodes: {a: {}, b: {}}"))

    assert fabric.drift("shop") == ()
    assert sorted(os.listdir(netns.DIRECTORY)) == ["shop.a", "shop.b"]


def _but_for_the_store() -> dict[str, frozenset[object]]:
    return {what: things for what, things in snapshot().items() if what != "/var/lib/netfab"}


def _at_the_first_cable(do: Callable[[], bool]) -> Hook:
    """Then all namespaces are created, and none is bound."""
    return lambda op: isinstance(op, Request) and bool(op.makes) and "veth" in str(op.doing) and do()


def test_a_command_that_is_killed_before_they_are_bound_leaves_what_the_next_one_takes(
    tmp_path: Path,
) -> None:
    before = _but_for_the_store()
    wanted = topology(tmp_path, text=TWO)
    child = os.fork()
    if not child:
        killed = _at_the_first_cable(lambda: os.kill(os.getpid(), signal.SIGKILL) or True)
        try:
            fabric.apply(*wanted, Where(hook=killed))
        finally:
            os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    assert not any(os.path.ismount(f"{netns.DIRECTORY}/shop.{node}") for node in "ab")

    fabric.apply(*wanted)

    assert fabric.drift("shop") == ()
    fabric.destroy("shop")
    assert differences(before, _but_for_the_store()) == []


def test_an_apply_that_fails_before_they_are_bound_leaves_nothing(tmp_path: Path) -> None:
    before = _but_for_the_store()

    with pytest.raises(NetfabError, match="veth"):
        fabric.apply(*topology(tmp_path, text=TWO), Where(hook=_at_the_first_cable(lambda: True)))

    assert differences(before, _but_for_the_store()) == []


def test_one_that_can_not_be_made_is_told_of_as_such_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> NoReturn:
        raise OSError(ENOMEM, os.strerror(ENOMEM))

    monkeypatch.setattr(ahead, "new_namespace", refuse)
    before = _but_for_the_store()

    with pytest.raises(KernelRefused, match=r"create namespace shop\.\w+: Cannot allocate memory"):
        fabric.apply(*topology(tmp_path, text=TWO))

    assert differences(before, _but_for_the_store()) == []
