"""Commands at once: they wait for each other, say for whom, and a holder that dies holds nothing."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from machine import differences, snapshot
from shop import topology

from netfab import fabric
from netfab.cli import look
from netfab.cli.main import cli
from netfab.errors import Locked
from netfab.fabric import Where
from netfab.hosts import lock
from netfab.hosts.lock import locked
from netfab.kernel import nft, openvswitch
from netfab.system import flock
from netfab.system.poll import readable

LOCK = "/run/netfab/shop.lock"


def _in_another_process(job: Callable[[], None]) -> int:
    """Its process id. It exits with 0 when the job returned; what it raised is on stderr."""
    child = os.fork()
    if child:
        return child
    try:
        job()
        os._exit(0)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(1)


def _exit_codes(children: list[int]) -> list[int]:
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def test_ten_applies_at_once_all_succeed_and_leave_one_fabric(tmp_path: Path) -> None:
    shop, file = topology(tmp_path)
    before = snapshot()

    codes = _exit_codes([_in_another_process(lambda: fabric.apply(shop, file) and None) for _ in range(10)])

    assert codes == [0] * 10
    assert fabric.drift("shop") == ()
    assert fabric.apply(shop, file)[1].changes == ()
    fabric.destroy("shop")
    assert [
        line
        for line in differences(before, snapshot())
        if "store.sqlite" not in line and "/var/lib/netfab" not in line
    ] == []


def test_ten_fabrics_applied_at_once_share_no_subnet(tmp_path: Path) -> None:
    lan = "networks: {LAN: {}}\nnodes: {web: {networks: [LAN]}}"
    shops = [topology(tmp_path, f"shop{n}", lan.replace("LAN", f"lan{n}")) for n in range(10)]

    codes = _exit_codes(
        [_in_another_process(lambda shop=shop: fabric.apply(*shop) and None) for shop in shops]
    )

    assert codes == [0] * 10
    subnets = {address for bridge in fabric.bridges() for address in bridge["addresses"]}
    assert len(subnets) == 10


def test_applies_and_destroys_at_once_end_in_one_of_both(tmp_path: Path) -> None:
    shop, file = topology(tmp_path)
    jobs = [lambda: fabric.apply(shop, file) and None, lambda: fabric.destroy("shop") and None] * 4

    codes = _exit_codes([_in_another_process(job) for job in jobs])

    assert codes == [0] * 8
    applied = [record.name for record in fabric.records()] == ["shop"]
    assert bool([bridge for bridge in fabric.bridges() if bridge["bridge"] == "br-lan"]) == applied


def test_reading_while_others_change_sees_a_fabric_or_none_and_never_fails(tmp_path: Path) -> None:
    shop, file = topology(tmp_path)

    def change() -> None:
        for _ in range(6):
            fabric.apply(shop, file)
            fabric.destroy("shop")

    changing = _in_another_process(change)
    while os.waitpid(changing, os.WNOHANG)[0] == 0:
        fabric.plan(shop, file)
        fabric.bridges()
        fabric.records()

    assert fabric.records() == []


def test_a_fabric_that_is_destroyed_while_all_are_listed_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fabric.apply(*topology(tmp_path))
    fabric.apply(*topology(tmp_path, "other", "nodes: {web: {}}"))
    known = look.known_fabrics

    def and_then_one_goes(where: Where) -> list[Any]:
        found = known(where)
        fabric.destroy("other")
        return found

    monkeypatch.setattr(look, "known_fabrics", and_then_one_goes)

    told = CliRunner().invoke(cli, ["ls"], obj={"stdout": SimpleNamespace()})

    assert told.exit_code == 0
    assert [line.split()[0] for line in told.output.splitlines()] == ["FABRIC", "shop"]


def _held(ready: int) -> None:
    """Hold the lock until the end of the world, or of patience."""
    signal.alarm(60)
    sys.argv = ["netfab", "apply", "shop.yaml"]
    with locked(LOCK, 1, lambda _: None):
        os.write(ready, b".")
        signal.pause()


def _killed(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


@pytest.fixture
def holder() -> int:
    return _a_holder()


def _a_holder() -> int:
    """A process that holds the lock."""
    reading, ready = os.pipe()
    child = _in_another_process(lambda: _held(ready))
    assert os.read(reading, 1) == b"."
    os.close(reading)
    os.close(ready)
    return child


def test_who_waits_too_long_is_told_by_whom_the_fabric_is_held(holder: int, tmp_path: Path) -> None:
    waited_for: list[str] = []

    with pytest.raises(Locked, match=f"locked by {holder} apply shop.yaml"):
        fabric.apply(*topology(tmp_path), Where(lock_timeout=0.05, waiting=waited_for.append))

    assert waited_for == [f"{holder} apply shop.yaml"]
    _killed(holder)


def test_where_holders_follow_each_other_the_first_is_told_and_the_wait_is_one(
    holder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_SILENCE", 60)  # seconds; they follow more quickly
    holders, waited_for = [holder], list[str]()

    def waiting(told: str) -> None:
        waited_for.append(told)
        if len(holders) == 1:
            os.unlink(LOCK)
            holders.append(_a_holder())
            _killed(holder)

    with pytest.raises(Locked) as refused, locked(LOCK, 0.5, waiting):
        pass

    assert refused.match(f"locked by {holders[-1]} apply shop.yaml")
    assert waited_for == [f"{holder} apply shop.yaml"]
    _killed(holders[-1])


def test_who_is_signalled_just_before_it_waits_is_signalled_again(
    holder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(timer: int, seconds: float, again: float = 0.0) -> tuple[float, float]:
        """The first signal."""
        return signal.setitimer(timer, seconds + again if again else 0, again)

    monkeypatch.setattr(flock, "signal", SimpleNamespace(**vars(signal) | {"setitimer": lost}))

    with pytest.raises(Locked), locked(LOCK, 0.05, lambda _: None):
        pass

    _killed(holder)


def test_an_alarm_that_its_caller_has_set_comes_after_the_wait(holder: int) -> None:
    rung = list[int]()
    before = signal.signal(signal.SIGALRM, lambda number, _: rung.append(number))
    signal.setitimer(signal.ITIMER_REAL, 3600, 7200)
    try:
        with pytest.raises(Locked), locked(LOCK, 0.01, lambda _: None):
            pass
        left, again = signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, before)
        _killed(holder)

    assert (3000 < left < 3600, again, rung) == (True, 7200, [])


def test_who_was_not_let_run_for_longer_than_it_may_wait_has_a_lock_that_became_free(
    holder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(fd: int, kind: int) -> None:
        if not kind & fcntl.LOCK_NB:
            _killed(holder)
            signal.raise_signal(signal.SIGALRM)
        fcntl.flock(fd, kind)

    monkeypatch.setattr(flock, "fcntl", SimpleNamespace(**vars(fcntl) | {"flock": late}))

    with locked(LOCK, 60, lambda _: None):
        pass


def test_a_thread_waits_no_longer_than_it_may_and_no_longer_than_it_must(holder: int) -> None:
    def hold(timeout: float) -> None:
        with locked(LOCK, timeout, lambda _: None):
            pass

    with ThreadPoolExecutor() as threads:
        with pytest.raises(Locked, match=f"locked by {holder} apply"):
            threads.submit(hold, 0.05).result(60)
        waiting = threads.submit(hold, 60)
        os.kill(holder, signal.SIGKILL)
        waiting.result(60)
    os.waitpid(holder, 0)


def test_a_killed_holder_holds_nothing_and_leaves_nothing(holder: int) -> None:
    _killed(holder)

    with locked(LOCK, 0, lambda _: pytest.fail("nobody is there to wait for")):
        pass

    assert not os.path.exists("/run/netfab")


@pytest.mark.parametrize(
    "change",
    [
        lambda: nft.load('{"nftables": [{"add": {"table": {"family": "inet", "name": "t"}}}]}'),
        lambda: openvswitch.change([["add-br", "br-t"]]),
    ],
    ids=["nft", "ovs-vsctl"],
)
def test_what_a_killed_holder_has_change_the_kernel_holds_the_lock_until_it_ends(
    change: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go, slow = tmp_path / "begun", tmp_path / "go", tmp_path / "slow"
    os.mkfifo(begun)
    os.mkfifo(go)
    slow.write_text(f"#!/bin/sh\necho $$ > {begun}\nread -r _ < {go}\n")
    slow.chmod(0o755)
    monkeypatch.setattr(nft, "PROGRAMS", (str(slow),))
    monkeypatch.setattr(openvswitch, "PROGRAMS", (str(slow),))

    def job() -> None:
        with locked(LOCK, 1, lambda _: None):
            change()

    holder = _in_another_process(job)
    program = os.pidfd_open(int(begun.read_text()))
    _killed(holder)

    with pytest.raises(Locked, match=f"locked by {holder}"), locked(LOCK, 0.05, lambda _: None):
        pass
    with locked(LOCK, 60, lambda _: go.write_text("\n") and None):
        assert readable([program], 60) == [program]
    os.close(program)


def test_who_waits_gets_the_lock_when_its_holder_is_killed(holder: int, tmp_path: Path) -> None:
    shop, file = topology(tmp_path)

    fabric.apply(shop, file, Where(waiting=lambda _: os.kill(holder, signal.SIGKILL)))

    os.waitpid(holder, 0)
    assert fabric.drift("shop") == ()


def test_a_lock_whose_file_somebody_removed_is_given_back_without_a_word() -> None:
    with locked(LOCK, 1, lambda _: None):
        os.unlink(LOCK)

    assert not os.path.exists(LOCK)
