"""A fabric's lock: one controller at a time changes it. A key under a lease that expires after its holder.

A holder suspended for longer would not notice its loss: hence `is_ours`, which every write compares
(https://jepsen.io/analyses/etcd-3.4.3 shows what happens otherwise).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from secrets import randbits
from time import monotonic

from netfab.errors import Locked, StoreError
from netfab.store.etcd import Client, Found, Json, created_at, put, read
from netfab.store.store import NO_SENSE
from netfab.system.rest import rest

TTL = 30  # seconds, the same as LOCK_TTL of hosts' agents
GLANCE = 0.2  # seconds between two polls of a held lock; our own lease is renewed meanwhile
RENEWAL = 2.0  # seconds that a renewal may take: hosts are waiting


class Lock:
    """A lock that we hold. `revision`: the store's when its key was created."""

    def __init__(self, client: Client, key: str, lease: int, revision: int) -> None:
        self.key, self.revision = key, revision
        self._client, self._lease = client, lease
        self._renewed = monotonic()

    def is_ours(self) -> Json:
        """The precondition of everything that only the holder may do."""
        return created_at(self.key, self.revision)

    def keep_alive(self) -> None:
        """Renew it, if a third of its TTL has passed. Whether it still exists is `is_ours`' business."""
        if monotonic() - self._renewed > TTL / 3:
            self._renewed = monotonic()
            with suppress(StoreError):
                self._client.renew(self._lease, RENEWAL)

    def refuse_lost(self, found: Iterable[Found]) -> None:
        """Raises Locked unless the keys read show it as ours."""
        there = [each for each in found if each.key == self.key]
        if not there or there[0].created != self.revision:
            now = f"{_holder(there[0])} has it now" if there else "nobody has it now"
            raise Locked(
                f"the lock {self.key} expired: etcd was not reached for {TTL} s, and {now}",
                hint="try again",
            )

    def release(self) -> None:
        """Release it; if etcd can't be reached, or the lock is lost already, it expires by itself."""
        with suppress(StoreError):
            self._client.revoke(self._lease)


@contextmanager
def held(client: Client, key: str, timeout: float, waiting: Callable[[str], None]) -> Iterator[Lock]:
    """Hold the lock at that key. `waiting` is called with the holder if it has to wait.

    Raises Locked after `timeout` seconds, StoreError.
    """
    lease = randbits(62) | 1
    client.grant(lease, TTL)
    lock = Lock(client, key, lease, 0)
    try:
        lock.revision = _acquired(client, key, lease, timeout, waiting, lock.keep_alive)
        yield lock
    finally:
        lock.release()


def _acquired(
    client: Client,
    key: str,
    lease: int,
    timeout: float,
    waiting: Callable[[str], None],
    keep_alive: Callable[[], None],
) -> int:
    """The revision at which it was created. A lock under our lease is ours, even if the answer was lost."""
    me = json.dumps({"lease": lease, "holder": f"{os.getpid()} on {os.uname().nodename} {_words()}".strip()})
    end, told = monotonic() + timeout, ""
    while True:
        reply = client.transact([created_at(key, 0)], [put(key, me, lease)], [read(key)])
        if reply.done:
            return reply.revision
        there = reply.found[0]
        if there.value == me:
            return there.created
        holder = _holder(there)
        if monotonic() >= end:
            raise Locked(
                f"locked by {holder}",
                hint=f"it is released when that process ends, or {TTL} s after its machine did;"
                " --lock-timeout waits longer",
            )
        if holder != told:
            told = holder
            waiting(holder)
        keep_alive()
        rest(GLANCE)


def _words() -> str:
    return " ".join(sys.argv[1:])[:200]


def _holder(found: Found) -> str:
    with suppress(*NO_SENSE):
        return str(json.loads(found.value)["holder"])
    return "somebody else"
