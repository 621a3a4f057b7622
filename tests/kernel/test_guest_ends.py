"""A guest that ends while netfab is at it: one message says so, and nothing of ours is left."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from machine import differences, snapshot

from netfab.errors import GuestGone
from netfab.fabric import HERE
from netfab.imperative import adhoc
from netfab.system import linux

WORDS = ("10.7.0.2/24@10.7.0.1", "fd00::2/64")


@contextmanager
def guest() -> Iterator[int]:
    """A process in a network of its own; it may be ended meanwhile."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        linux.unshare(linux.CLONE_NEWNET)
        os.write(writing, b"+")
        while True:
            signal.pause()
    os.close(writing)
    os.read(reading, 1)
    os.close(reading)
    try:
        yield pid
    finally:
        end(pid)


def end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        return  # it has ended, and was waited for


def hook_at(number: int, what: Callable[[], None]) -> tuple[Callable[[Any], bool], Callable[[], int]]:
    """A hook that does something at one step, and how many steps there were."""
    steps = 0

    def hook(_: Any) -> bool:
        nonlocal steps
        steps += 1
        if steps == number:
            what()
        return False

    return hook, lambda: steps


def attached(pid: int, hook: Callable[[Any], bool]) -> None:
    adhoc.attach(adhoc.request_of("br7", f"pid:{pid}", WORDS), HERE._replace(hook=hook))


def state() -> dict[str, frozenset[object]]:
    return snapshot() | {"/var/lib/netfab": frozenset()}


def steps_of_attach() -> int:
    """Until it was read back; what tells the neighbours comes after it."""
    hook, steps = hook_at(0, lambda: None)
    with guest() as pid:
        attached(pid, hook)
        adhoc.detach("br7", f"pid:{pid}")
    return steps() - 3


def test_a_guest_that_ends_at_any_step_of_attach_is_said_to_have_gone_and_nothing_is_left(
    record_property: Callable[[str, object], None],
) -> None:
    count = steps_of_attach()
    before = state()
    for number in range(1, count + 1):
        with guest() as pid:
            hook, _ = hook_at(number, partial(end, pid))

            with pytest.raises(GuestGone, match=f"^the guest went away: pid:{pid}$") as told:
                attached(pid, hook)

        assert told.value.undone, number
        assert differences(before, state()) == [], number
    record_property("ends of guests", count)
    assert count > 15


def test_another_guest_keeps_what_it_has() -> None:
    with guest() as stays, guest() as goes:
        adhoc.attach(adhoc.request_of("br7", f"pid:{stays}", ["10.7.0.9/24"]))
        before = state()
        hook, _ = hook_at(9, lambda: end(goes))

        with pytest.raises(GuestGone, match=f"pid:{goes}"):
            attached(goes, hook)

        assert differences(before, state()) == []
        assert [one.guest for one in adhoc.attachments()] == [f"pid:{stays}"]
        assert adhoc.reconcile("adhoc").changes == ()
        adhoc.detach("br7", f"pid:{stays}")
