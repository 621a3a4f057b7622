"""Links that end: who asked for it goes on when nobody sees them, and the kernel need not be done by then."""

from __future__ import annotations

import os
import subprocess
from _socket import if_nametoindex
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENOMEM
from threading import Event
from typing import Any

import pytest

from netfab.kernel.departing import Departing
from netfab.kernel.netlink import Monitor, Netlink, Sending
from netfab.kernel.sweep import end_of_group
from netfab.objects.base import HOST
from netfab.objects.wire import encode

GROUP = 77
LONG = 60.0  # seconds that a kernel takes which is never done


class Slow:
    """A socket whose send ends long after the kernel has carried it out."""

    def __init__(self, real: Any) -> None:
        self.real, self.done, self.over = real, Event(), False
        self.failure: OSError | None = None

    def send(self, data: bytes) -> None:
        if self.failure is not None:
            raise self.failure
        self.real.send(data)
        self.done.wait(LONG)
        self.over = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


def message(departing: Departing, group: int) -> tuple[int, bytes]:
    sequence = departing.next_sequence()
    return sequence, encode(end_of_group(HOST, group), lambda name: 0, sequence)


@contextmanager
def departing_bridge() -> Iterator[tuple[Departing, Slow]]:
    subprocess.run(["ip", "link", "add", "br0", "group", str(GROUP), "type", "bridge"], check=True)
    departing = Departing([if_nametoindex("br0")])
    slow = Slow(departing._socket)
    departing._socket = slow  # type: ignore[assignment]
    yield departing, slow
    slow.done.set()
    departing.close()


def test_it_goes_on_when_nobody_sees_them_although_the_kernel_is_not_done() -> None:
    with departing_bridge() as (departing, slow):
        refused = departing.batch([message(departing, GROUP)], beside=lambda: None)

        assert (refused, slow.over) == ({}, False)
        with pytest.raises(OSError, match="no interface"):
            if_nametoindex("br0")
        slow.done.set()
        departing.close()
        assert slow.over


def test_what_is_listened_for_is_told_when_none_of_them_is_there() -> None:
    ports = [
        f"link add {name} group {GROUP} type veth peer {name}p group {GROUP}\nlink set {name} master br0 up"
        for name in (f"d{number}" for number in range(50))
    ]
    with departing_bridge() as (departing, _):
        subprocess.run(["ip", "-batch", "-"], input="\n".join(ports), text=True, check=True)
        heard = Monitor(Monitor.CONFIGURATIONS)

        sending = Sending(Netlink()._socket, message(departing, GROUP)[1])
        heard.wait(LONG)

        with pytest.raises(OSError, match="no interface"):
            if_nametoindex("br0")
        sending.finish()
        heard.close()


def test_an_errand_that_fails_is_told_when_they_are_gone() -> None:
    def fail() -> None:
        raise InterruptedError

    with departing_bridge() as (departing, _):
        with pytest.raises(InterruptedError):
            departing.batch([message(departing, GROUP)], beside=fail)

        with pytest.raises(OSError, match="no interface"):
            if_nametoindex("br0")


def test_what_the_kernel_refuses_is_told_and_they_stay() -> None:
    with departing_bridge() as (departing, slow):
        slow.done.set()

        refused = departing.batch([message(departing, GROUP + 1)], beside=lambda: None)

        assert list(refused.values()) == [(19, "")]  # ENODEV: nothing is in that group
        assert if_nametoindex("br0")


def test_what_can_not_be_sent_is_told() -> None:
    with departing_bridge() as (departing, slow):
        slow.failure = OSError(ENOMEM, os.strerror(ENOMEM))

        with pytest.raises(OSError, match="Cannot allocate memory"):
            departing.batch([message(departing, GROUP)], beside=lambda: None)
