"""A real etcd for tests, of several members, each where it is told to be; gone with the test."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import NamedTuple

import pytest

from netfab.errors import StoreError
from netfab.store import etcd_lock
from netfab.store.etcd import Client, read
from netfab.system.process import signal_with_parent
from netfab.topology.schema import Etcd

STARTUP = 30.0  # seconds


class Place(NamedTuple):
    """Where a member runs: its address, and how a process gets there."""

    address: str
    enter: Callable[[], None]


class Cluster:
    """Its members by their numbers from 1."""

    def __init__(self, directory: str, places: tuple[Place, ...], scheme: str, more: tuple[str, ...]) -> None:
        self._directory, self._places, self._scheme, self._more = directory, places, scheme, more
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._state = "new"
        for number in range(1, len(places) + 1):
            self.start(number)
        self._state = "existing"

    @property
    def store(self) -> Etcd:
        """As a topology names it."""
        return Etcd(tuple(f"{place.address}:2379" for place in self._places))

    def start(self, number: int) -> None:
        """Begin that member, or begin it again with what it had."""
        place = self._places[number - 1]
        client, peer = f"{self._scheme}://{place.address}:2379", f"http://{place.address}:2380"
        all_of_them = ",".join(f"m{at}=http://{each.address}:2380" for at, each in enumerate(self._places, 1))
        argv = [
            "etcd", "--name", f"m{number}", "--data-dir", f"{self._directory}/m{number}",
            "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", all_of_them, "--initial-cluster-state", self._state,
            "--heartbeat-interval", "50", "--election-timeout", "500",
            "--logger", "zap", "--log-level", "error", *self._more,
        ]  # fmt: skip

        def enter() -> None:
            signal_with_parent(signal.SIGKILL)
            place.enter()

        with open(f"{self._directory}/m{number}.log", "ab") as log:
            self._running[number] = subprocess.Popen(argv, stderr=log, stdout=log, preexec_fn=enter)

    def kill(self, number: int) -> None:
        """As a machine dies."""
        self.signal(number, signal.SIGKILL)
        self._running.pop(number).wait()

    def wait_for(self, number: int) -> None:
        """Until that member answers by itself, in the namespace where the caller is."""
        alone = self.store._replace(endpoints=(f"{self._places[number - 1].address}:2379",))
        wait_until_it_answers(Client(alone), self)

    def signal(self, number: int, which: signal.Signals) -> None:
        """Stop it for a while, say."""
        os.kill(self._running[number].pid, which)

    def end(self) -> None:
        """All members."""
        for number in tuple(self._running):
            self.kill(number)

    def log(self) -> str:
        """What its members complained of."""
        names = sorted(name for name in os.listdir(self._directory) if name.endswith(".log"))
        return "".join(open(f"{self._directory}/{name}").read() for name in names)


@contextmanager
def cluster(*places: Place, scheme: str = "http", more: tuple[str, ...] = ()) -> Iterator[Cluster]:
    """Members of one etcd, which answer when this begins. `more`: options for all of them."""
    directory = tempfile.mkdtemp(dir="/dev/shm", prefix="netfab-etcd-")  # what is synced there costs nothing
    made = Cluster(directory, places, scheme, more)
    try:
        yield made
    finally:
        made.end()
        shutil.rmtree(directory)


def shorten_locks(monkeypatch: pytest.MonkeyPatch, seconds: int = 3) -> None:
    """Locks end so many seconds after they were last renewed, which they are three times a second.

    Whoever holds one may stand still for a second less, then, as a machine with much to do makes him.
    """
    grant = Client.grant
    monkeypatch.setattr(etcd_lock, "TTL", 1)
    monkeypatch.setattr(Client, "grant", lambda client, lease, _: grant(client, lease, seconds))


def wait_until_it_answers(client: Client, made: Cluster) -> None:
    """Until a leader is chosen, at the beginning of all."""
    end = monotonic() + STARTUP
    while True:
        try:
            client.transact((), [read(f"{client.at.prefix}/")])
            return
        except StoreError:
            assert monotonic() < end, made.log()
