"""Hearing of changes in a process that has a descriptor open for each of thousands of nodes."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from netfab.kernel.attempts import datagram
from netfab.kernel.echo import answering
from netfab.kernel.netlink import Monitor
from netfab.remote.channel import Channel, ask
from netfab.remote.messages import encode

SELECTS = 1024  # descriptors that select(2) can name


@pytest.fixture(autouse=True)
def many_descriptors() -> Iterator[None]:
    opened = [os.open(os.devnull, os.O_RDONLY)]
    while opened[-1] < SELECTS:
        opened.append(os.dup(opened[0]))
    yield
    for fd in opened:
        os.close(fd)


def test_a_change_is_heard() -> None:
    monitor = Monitor()
    try:
        monitor.wait(0.001)
    finally:
        monitor.close()


def test_an_echo_and_a_datagram_are_answered() -> None:
    here = ip_address("127.0.0.1")

    assert here in answering([here], 1.0)
    assert "refused" in datagram(here, 9, 1.0)


class Silent:
    """A host that answers one question, by descriptors beyond those that select(2) can name."""

    def __init__(self) -> None:
        self.reading, self._answering = os.pipe()
        self._asked, self.writing = os.pipe()
        threading.Thread(target=self._answer).start()

    def _answer(self) -> None:
        os.read(self._asked, 1000)
        os.write(self._answering, b"{}\n" + encode({"verb": "ready"}))

    def opening(self) -> bytes:
        return b"\n"

    def greet(self, line: bytes) -> bytes | None:
        return None

    def close(self) -> None:
        for fd in (self.reading, self._answering, self._asked, self.writing):
            os.close(fd)


def test_a_host_is_asked() -> None:
    transport = Silent()
    try:
        channel = Channel("h1", transport)  # type: ignore[arg-type]

        said = ask({channel: {"verb": "ready"}})

        assert said == {channel: {"verb": "ready"}}
        assert transport.reading >= SELECTS
    finally:
        transport.close()
