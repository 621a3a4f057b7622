"""`--confirm`: what is not confirmed in time is taken back, by a process that nobody's end ends."""

from __future__ import annotations

import importlib
import os
import select
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from kills import is_killed
from shop import TEXT, topology

from netfab import fabric
from netfab.errors import NetfabError, StoreError
from netfab.imperative import uplink
from netfab.topology.adhoc import NAME
from netfab.unattended import confirm
from netfab.unattended.confirm import Terms, armed
from netfab.where import HERE, Where

PATIENCE = 60  # seconds, for what hangs
LONG, SHORT = Terms(600), Terms(0.2)
MACHINE = """
ip netns add lan
ip link add ens1 type veth peer name far netns lan
ip link set ens1 up
ip -n lan link set far up
ip -n lan address add 198.51.100.9/24 dev far
ip address add 198.51.100.1/24 dev ens1
ip route add default via 198.51.100.9
"""


@pytest.fixture(autouse=True)
def machine() -> Iterator[None]:
    """The LAN; and what still waits at the end is confirmed, so that no process is left."""
    subprocess.run(["sh", "-ec", MACHINE], check=True)
    yield
    with suppress(NetfabError):
        confirm.confirm(None, HERE)


def lend(terms: Terms, where: Where = HERE) -> None:
    with armed(NAME, terms, HERE):
        uplink.uplink("br0", "ens1", where)


def addresses(link: str) -> list[str]:
    shown = subprocess.run(
        ["ip", "-4", "-o", "address", "show", link], capture_output=True, text=True, check=False
    )
    return [line.split()[3] for line in shown.stdout.splitlines()]


def until(condition: Callable[[], bool]) -> None:
    deadline = monotonic() + PATIENCE
    while not condition():
        assert monotonic() < deadline, "it never came"
        sleep(0.01)


def is_over() -> bool:
    return not os.path.exists(f"{HERE.run}/{NAME}.confirm") and not os.path.exists(f"{HERE.run}/{NAME}.lock")


def test_what_is_not_confirmed_is_taken_back_and_nothing_is_left() -> None:
    lend(SHORT)

    until(lambda: addresses("ens1") == ["198.51.100.1/24"] and addresses("br0") == [])
    until(is_over)
    assert fabric.records() == []


def test_that_nobody_takes_it_back_is_told_where_who_was_to_do_so_was_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(confirm, "_is_wanted", lambda *_: os._exit(1))

    with pytest.raises(NetfabError, match="the change stays"):
        lend(LONG)

    assert addresses("br0") == ["198.51.100.1/24"]


def test_what_is_confirmed_stays() -> None:
    lend(LONG)

    assert confirm.confirm(None, HERE) == NAME

    assert is_over()
    assert addresses("br0") == ["198.51.100.1/24"]
    with pytest.raises(NetfabError, match="no change waits to be confirmed"):
        confirm.confirm(None, HERE)


def test_who_confirms_goes_on_when_another_change_may_come(monkeypatch: pytest.MonkeyPatch) -> None:
    command, unlink = os.getpid(), os.unlink

    def late(path: str) -> None:
        if os.getpid() != command:
            select.select([], [], [], 0.3)
        unlink(path)

    monkeypatch.setattr(os, "unlink", late)
    lend(LONG)

    confirm.confirm(None, HERE)

    assert is_over()
    lend(LONG)


def test_the_connection_that_it_was_changed_over_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.7 50000 198.51.100.1 22")
    lend(LONG)

    with pytest.raises(NetfabError, match="this is the connection that it was changed over"):
        confirm.confirm(NAME, HERE)
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.7 50001 198.51.100.1 22")

    assert confirm.confirm(NAME, HERE) == NAME


def test_an_address_that_answers_confirms() -> None:
    lend(LONG._replace(probe=ip_address("198.51.100.9")))

    until(is_over)
    assert addresses("br0") == ["198.51.100.1/24"]


def test_an_address_that_does_not_answer_confirms_nothing() -> None:
    lend(SHORT._replace(probe=ip_address("198.51.100.77")))

    until(lambda: addresses("ens1") == ["198.51.100.1/24"] and addresses("br0") == [])


@pytest.mark.parametrize("step", [1, 9, 11, 14, 18])
def test_a_command_that_is_killed_half_way_is_taken_back_at_once(step: int) -> None:
    assert is_killed(step, lambda where: lend(LONG, where))

    until(lambda: addresses("ens1") == ["198.51.100.1/24"] and addresses("br0") == [])
    until(is_over)


def test_a_change_that_failed_waits_for_nobody() -> None:
    with pytest.raises(NetfabError, match="no NIC ens9"), armed(NAME, LONG, HERE):
        uplink.uplink("br0", "ens9")

    until(is_over)


@pytest.mark.parametrize("broken", ["netfab.unattended.confirm.opened_store", "netfab.kernel.echo.answers"])
def test_what_keeps_it_from_hearing_that_all_is_well_has_it_taken_back(
    monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    room, name = broken.rsplit(".", 1)
    whole, command = getattr(importlib.import_module(room), name), os.getpid()

    def failing(*arguments: object) -> object:
        if os.getpid() == command:
            return whole(*arguments)
        raise StoreError("it can't be read") if name == "opened_store" else OSError("no such family")

    monkeypatch.setattr(broken, failing)

    lend(SHORT._replace(probe=ip_address("198.51.100.77")))

    until(lambda: addresses("ens1") == ["198.51.100.1/24"] and addresses("br0") == [])


def test_a_second_change_waits_for_the_first_to_be_confirmed() -> None:
    lend(LONG)

    with pytest.raises(NetfabError, match="a change of fabric adhoc waits to be confirmed"):
        lend(LONG)


def test_a_directory_that_another_command_removes_as_the_last_one_in_it_is_made_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make, made = confirm.public_directory, list[str]()

    def and_another_ends(path: str) -> None:
        make(path)
        if not made:
            os.rmdir(path)
        made.append(path)

    monkeypatch.setattr(confirm, "public_directory", and_another_ends)
    lend(LONG)

    assert confirm.confirm(None, HERE) == NAME
    assert made == [HERE.run, HERE.run]


@pytest.fixture
def time_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """When there is such a file, and not before."""
    file = tmp_path / "over"
    monkeypatch.setattr(confirm, "monotonic", lambda: 1000.0 if file.exists() else 0.0)
    return file


@pytest.fixture
def way_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that there is when the child has gone it, or found that it need not."""
    file, go = tmp_path / "back", confirm._is_taken_back

    def gone(*arguments: Any) -> bool:
        done = go(*arguments)
        file.touch()
        return done

    monkeypatch.setattr(confirm, "_is_taken_back", gone)
    return file


def test_what_another_command_made_since_is_left_alone(time_is_over: Path, way_back: Path) -> None:
    lend(SHORT)
    uplink.detach("br0", "ens1")
    uplink.uplink("br1", "ens1")
    time_is_over.touch()

    until(way_back.exists)
    assert addresses("br1") == ["198.51.100.1/24"]


def test_a_child_that_is_not_let_run_takes_nothing_for_the_change_that_came_after_it(
    time_is_over: Path, way_back: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, opened = os.getpid(), confirm.opened_store

    def late(where: Where) -> Any:
        if os.getpid() != command:
            select.select([], [], [], 0.3)
        return opened(where)

    monkeypatch.setattr(confirm, "opened_store", late)
    lend(SHORT)
    uplink.detach("br0", "ens1")
    uplink.uplink("br1", "ens1")
    time_is_over.touch()

    until(way_back.exists)
    assert addresses("br1") == ["198.51.100.1/24"]


def test_a_topology_becomes_what_it_was_before(tmp_path: Path) -> None:
    before = topology(tmp_path)
    fabric.apply(*before)
    record = fabric.records()[0]
    after = topology(tmp_path, text=TEXT.replace("lan: {}", "lan: {mtu: 1400}"))

    with armed("shop", SHORT, HERE):
        fabric.apply(*after)

    until(lambda: fabric.records() == [record])
    until(lambda: not os.path.exists(f"{HERE.run}/shop.lock"))
    assert fabric.drift("shop") == ()
    assert fabric.apply(*before)[1].changes == ()
