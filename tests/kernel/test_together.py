"""What two processes read together is what one would have read, also when one of them ends in the middle."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from pathlib import Path
from signal import pause
from struct import calcsize, pack, unpack
from typing import Any

import pytest
from own_children import own_children
from shop import TEXT, topology

from netfab import fabric
from netfab.errors import SubnetTaken
from netfab.hosts.local import LocalHost
from netfab.kernel import dumps, netns, reading
from netfab.kernel.together import Together
from netfab.objects.base import HOST, Fabric, Name
from netfab.objects.guest import Guest

NAMES = [f"n{number}" for number in range(50)]


@pytest.fixture(autouse=True)
def few_are_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "FEWEST", 1)


def test_what_the_child_has_read_needs_no_second_reading() -> None:
    here = os.getpid()
    reading = Together(NAMES, lambda name: name.upper() if os.getpid() != here else pytest.fail(name))
    select.select([reading._worker.socket], [], [])

    found = reading.finish()
    reading.close()

    assert found == {name: name.upper() for name in NAMES}


def test_what_is_gone_is_missing() -> None:
    def read(name: str) -> str:
        if name == "n7":
            raise FileNotFoundError(name)
        return name

    reading = Together(NAMES, read)
    found = reading.finish()
    reading.close()

    assert found.keys() == {*NAMES} - {"n7"}


def test_what_a_child_took_and_did_not_hand_over_is_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, read = os.getpid(), Together._read_what_is_left

    def fails(self: Together, left: int) -> dict[str, Any]:
        read(self, left)
        if os.getpid() != here:
            os._exit(9)
        return {}

    monkeypatch.setattr(Together, "_read_what_is_left", fails)
    fabric.apply(*topology(tmp_path))

    assert fabric.drift("shop") == ()


def test_a_host_that_the_child_has_read_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fabric.apply(*topology(tmp_path))
    with LocalHost("shop") as host:
        whole = host.observe("shop").own
    with LocalHost("shop") as host:
        host.read_ahead(host=dumps.UNSTEADY)
        assert host._observer._reading._ahead is not None
        select.select([host._observer._reading._ahead.reading._worker.socket], [], [])
        monkeypatch.setattr(dumps, "_located_links", lambda _: pytest.fail("read again"))

        assert host.observe("shop").own == whole


def test_what_a_reading_of_a_few_spaces_leaves_out_is_not_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fabric.apply(*topology(tmp_path))
    looked: list[str] = []
    what_is = netns._what_is
    monkeypatch.setattr(
        netns, "_what_is", lambda path: looked.append(os.path.basename(path)) or what_is(path)
    )
    with LocalHost("shop") as host:
        whole = host.observe("shop").own
        every, one = sorted(looked), looked[0]
        looked.clear()

        part = host.observe("shop", spaces={HOST, f"node {one}"}).own

    assert every == sorted(os.listdir(netns.DIRECTORY))
    assert looked == [one]
    assert part == whole


def test_a_guest_that_is_another_than_was_read_ahead_is_read_anew() -> None:
    blue, red = (_guest(name) for name in ("blue", "red"))
    with LocalHost("shop") as host:
        host.read_ahead(guests=[blue])

        found = host.dump([Fabric("shop", [red])]).spaces[red.space].links

    assert {link.name for link in found} == {"lo", "of-red"}


def _guest(name: str) -> Guest:
    """A namespace in the place of the node `web`, with a link by which it is known."""
    made = f"ip netns add {name}; ip -n {name} link add of-{name} type bridge"
    subprocess.run(["sh", "-ec", made], check=True)
    path = f"{netns.DIRECTORY}/{name}"
    return Guest(Name("namespace", "shop.web"), f"netns:{name}", path, 0, str(os.stat(path).st_ino))


def test_it_does_not_outlive_its_maker_whose_lock_it_would_keep() -> None:
    told, tell = os.pipe()
    maker = os.fork()
    if maker == 0:
        here = os.getpid()
        Together(NAMES, lambda _: os.getpid() != here and os.write(tell, pack("i", os.getpid())) and pause())
        pause()
    child = os.pidfd_open(*unpack("i", os.read(told, calcsize("i"))))

    os.kill(maker, signal.SIGKILL)
    os.waitpid(maker, 0)

    assert select.select([child], [], [], 60)[0]
    os.close(child)
    os.close(told)
    os.close(tell)


def test_no_child_is_left_of_a_plan_that_fails(tmp_path: Path) -> None:
    fabric.apply(*topology(tmp_path))
    taken = "ip link add x type bridge; ip address add 10.9.0.1/24 dev x; ip link set x up"
    subprocess.run(["sh", "-ec", taken], check=True)
    wrong = topology(tmp_path, text=TEXT.replace("lan: {}", "lan: {subnet: 10.9.0.0/24}"))
    before = own_children()

    with pytest.raises(SubnetTaken):
        fabric.apply(*wrong)

    assert own_children() <= before
