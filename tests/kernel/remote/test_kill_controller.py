"""A controller that is killed after any message: nobody stays locked, and the next apply makes it good."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from far import Far
from far_shop import Shop, one_more

from netfab.errors import Interrupted
from netfab.multihost import across
from netfab.remote.channel import Channel

ROUNDS = ("first", "more", "destroy")


class Killer:
    """Counts what is sent, and sends this process a signal once so many pieces are on their way.

    What is received only makes it send more.
    """

    def __init__(self, number: int, signal_number: int = signal.SIGKILL) -> None:
        self.number, self.count, self.signal = number, 0, signal_number

    def pass_by(self) -> None:
        self.count += 1
        if self.count == self.number:
            os.kill(os.getpid(), self.signal)


def counted(killer: Killer, patched: pytest.MonkeyPatch) -> None:
    """Have the killer see everything that this process sends."""
    write = Channel.write

    def wrote(channel: Channel) -> None:
        write(channel)
        killer.pass_by()

    patched.setattr(Channel, "write", wrote)


def killed_at(number: int, job: Callable[[], Any]) -> bool:
    """Do it in a process of its own, killed at that message; False when it ended before."""
    child = os.fork()
    if child == 0:
        try:
            counted(Killer(number), pytest.MonkeyPatch())
            job()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("what", ROUNDS)
def test_the_next_apply_makes_it_good(
    what: str, shop: Shop, fars: dict[str, Far], record_property: Callable[[str, object], None]
) -> None:
    jobs: dict[str, Callable[[], Any]] = {
        "first": shop.apply,
        "more": lambda: shop.apply(one_more),
        "destroy": lambda: across.destroy(shop.entry, way=shop.way),
    }
    number = 0
    killed = True
    while killed:
        number += 1
        if what == "first" and across.known("shop"):
            across.destroy(shop.entry, way=shop.way)
            assert fars["h1"].left() == fars["h2"].left() == []
        if what != "first":
            shop.apply()
        killed = killed_at(number, jobs[what])
        if killed:
            shop.apply(one_more)  # waits for no lock longer than agents take to see that they are alone
            assert fars["h1"].nodes() == {"shop.web", "shop.log"}
            assert fars["h2"].nodes() == {"shop.db"}
    if across.known("shop"):
        assert across.drift(shop.entry, way=shop.way) == []
        across.destroy(shop.entry, way=shop.way)
    assert fars["h1"].left() == fars["h2"].left() == []
    assert number > 4
    record_property(f"pieces sent for {what}", number - 1)


def test_an_interrupt_at_any_message_takes_all_back_or_comes_too_late(
    shop: Shop, fars: dict[str, Far], monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = []
    number = 0
    interrupted = True
    while interrupted:
        number += 1
        killer = Killer(number, signal.SIGINT)
        with monkeypatch.context() as patched:
            counted(killer, patched)
            try:
                shop.apply()
                outcomes.append("applied")
            except Interrupted:
                outcomes.append("taken back")
                assert fars["h1"].left() == fars["h2"].left() == []
                assert across.known("shop") is None
        interrupted = killer.count >= number
        if across.known("shop"):
            across.destroy(shop.entry, way=shop.way)
    assert set(outcomes[:4]) == {"taken back"}
    assert outcomes == sorted(outcomes, reverse=True)
