"""A lock in etcd: one controller at a time, freed when it dies, and of no use to who lost it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from time import monotonic

import pytest
from etcd_cluster import shorten_locks

from netfab.errors import Locked
from netfab.store import etcd_lock
from netfab.store.book import Entry
from netfab.store.etcd import Client, read
from netfab.store.shared import SharedBook
from netfab.topology.schema import Etcd

Open = Callable[..., AbstractContextManager[SharedBook]]
SHOP = Entry("shop", "/srv/shop.yaml", 0, {"h1": ""}, 1, "a1", {"nodes": {}})


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_locks(monkeypatch)


def holder(opened: Open) -> int:
    """A process that has the lock."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with opened("shop", "c1"):
                os.write(writing, b"+")
                while True:
                    signal.pause()
        finally:
            os._exit(1)
    os.close(writing)
    assert os.read(reading, 1) == b"+"
    os.close(reading)
    return child


def seconds_left(client: Client, book: SharedBook) -> int:
    """Until the lock ends, if it is not renewed."""
    return int(client._call("lease/timetolive", {"ID": book._ours._lease})["TTL"])


def test_who_does_not_wait_is_told_the_holder(opened: Open) -> None:
    told = f"locked by {os.getpid()} on {os.uname().nodename}"

    with opened("shop", "c1"), pytest.raises(Locked, match=told), opened("shop", "c2"):
        pass


def test_who_waits_is_told_the_holder_once_and_has_the_lock_when_it_is_released(
    client: Client, store: Etcd, opened: Open
) -> None:
    told: list[str] = []
    holding = opened("shop", "c1")
    holding.__enter__()

    def waiting(who: str) -> None:
        told.append(who)
        holding.__exit__(None, None, None)

    with etcd_lock.held(client, f"{store.prefix}/locks/shop", 30, waiting):
        pass

    assert [who.split()[0] for who in told] == [str(os.getpid())]


def test_two_fabrics_have_locks_of_their_own(opened: Open) -> None:
    with opened("shop", "c1"), opened("mall", "c2"):
        pass


def test_the_lock_of_a_controller_that_was_killed_is_free_after_its_time(opened: Open, short: None) -> None:
    child = holder(opened)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)

    with opened("shop", "c2", timeout=60) as book:
        book.begin(SHOP, book.entry("shop"))


def test_the_time_of_a_lock_that_is_kept_alive_begins_anew(
    opened: Open, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten_locks(monkeypatch, 120)  # however long this stands still

    with opened("shop", "c1") as book:
        end = monotonic() + 60
        while (left := seconds_left(client, book)) > 118 and monotonic() < end:
            continue
        while seconds_left(client, book) <= left and monotonic() < end:
            book.keep_alive()

        assert monotonic() < end
        book.begin(SHOP, book.entry("shop"))

        with pytest.raises(Locked), opened("shop", "c2"):
            pass


@pytest.mark.parametrize("late", ["begin", "keep", "forget"])
def test_what_a_controller_writes_after_it_lost_the_lock_is_refused(
    opened: Open, client: Client, store: Etcd, late: str
) -> None:
    with opened("shop", "c1") as slow:
        slow.entry("shop")
        if late != "begin":
            slow.begin(SHOP, None)
        lock = client.transact((), [read(f"{store.prefix}/locks/shop")]).found[0]
        client.revoke(slow._ours._lease)  # as etcd does when it hears nothing for long
        with opened("shop", "c2") as other:
            theirs = SHOP._replace(generation=7, transaction="c2")
            other.begin(theirs, other.entry("shop"))
            other.keep(theirs)

            with pytest.raises(Locked, match=r"expired: .*, and .* has it now"):
                slow.begin(SHOP, None) if late == "begin" else getattr(slow, late)(
                    SHOP if late == "keep" else "shop"
                )

            assert other.entry("shop") == theirs
    assert lock.created > 0


def test_what_is_written_after_the_lock_was_lost_is_refused_though_nobody_has_it(
    opened: Open, client: Client
) -> None:
    with opened("shop", "c1") as slow:
        slow.begin(SHOP, slow.entry("shop"))
        client.revoke(slow._ours._lease)

        with pytest.raises(Locked, match=r"expired: .* and nobody has it now"):
            slow.keep(SHOP)
