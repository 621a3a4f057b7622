"""What controllers share of fabrics, in etcd: entries of the book, what no two fabrics may hold, and locks.

PREFIX/fabrics/NAME is the entry; PREFIX/held/NAME its subnets and VNIs, with those that an apply has begun
with; PREFIX/locks/NAME who changes it. Only who holds the lock writes: each write is one transaction that
also compares when the lock was made, so whoever lost it, and does not know, is refused. Nothing here is
needed to clean up a host.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_network
from time import monotonic
from typing import Any

from netfab.errors import Locked, StoreError
from netfab.plan.facts import HeldSubnet, Lease
from netfab.store import etcd
from netfab.store.book import Book, Entry, Others, entry_of, undecided
from netfab.store.conflicts import refuse_overlaps, refuse_vnis
from netfab.store.etcd_lock import Lock
from netfab.store.store import NO_SENSE

EXCLUSIVE = ("subnet", "vni")  # kinds of leases that no two fabrics may both have
CONTENTION = 30.0  # seconds in which others may go on being first
_VERSION = 1  # of what is kept there
Leases = frozenset[Lease]


class SharedBook:
    """Entries of all controllers; who only reads needs no lock.

    `copy`: our own book, by which a fabric is found that is called by name.
    """

    def __init__(self, client: etcd.Client, copy: Book, lock: Lock | None = None) -> None:
        self._client, self._copy, self._lock = client, copy, lock
        self._modified = 0  # when the entry was written that we know
        self._new = True  # nobody had an entry
        self._begun_with: Leases | None = (
            None  # what the fabric held before we began; None: nothing has begun
        )

    def entry(self, fabric: str) -> Entry | None:
        """What is known of the fabric of that name; where nobody else knows it, what our copy says."""
        reply = self._client.transact((), [etcd.read(self._key("fabrics", fabric))])
        text = self._entry_in(reply, fabric)
        self._new = not text
        if not text:
            return self._copy.entry(fabric)
        try:
            return entry_of(self._read(self._key("fabrics", fabric), text))
        except NO_SENSE as error:
            raise self._senseless(self._key("fabrics", fabric), error) from error

    def others(self, besides: str) -> Others:
        """What all other fabrics hold."""
        return _others(self._held(self._client.transact((), [self._all_held()])), besides)

    def begin(self, entry: Entry, before: Entry | None) -> None:
        """An apply begins: all hosts are known before one is changed, and what it wants besides is held.

        Raises LeaseConflict, and holds nothing new, where another fabric has some of that.
        """
        self._copy.begin(entry, before)
        try:
            self._claim(entry, before)
        except BaseException:
            self._copy.take_back(entry, before)
            raise

    def keep(self, entry: Entry) -> None:
        """It is decided.

        What it lets go of is still held: hosts go back to that if this is written and we don't hear of it.
        """
        self._write(entry.name, [self._put_entry(entry)])
        self._copy.keep(entry)

    def settle(self, entry: Entry) -> None:
        """Hosts have what was decided, so it holds exactly that."""
        wants = _exclusive(entry)
        if self._begun_with is not None and not self._begun_with <= wants:
            self._write(entry.name, [self._put_held(entry.name, wants)])

    def take_back(self, entry: Entry, before: Entry | None) -> None:
        """Nothing of what was begun is left on any host. What can't be let go of stays held."""
        name = entry.name
        with suppress(StoreError, Locked):  # what failed first is what the user has to know
            if before is None or self._new:
                self._write(name, self._deleted(name))
            elif self._begun_with is not None:
                self._write(name, [self._put_entry(before), self._put_held(name, self._begun_with)])
        self._copy.take_back(entry, before)

    def forget(self, fabric: str) -> None:
        """The fabric is gone from all of its hosts."""
        self._write(fabric, self._deleted(fabric))
        self._copy.forget(fabric)

    def keep_alive(self) -> None:
        """Hold the lock longer; called now and then. That it was lost is found out by the next write."""
        if self._lock is not None:
            self._lock.keep_alive()

    def _claim(self, entry: Entry, before: Entry | None) -> None:
        name, wants = entry.name, _exclusive(entry)
        begun = [] if before and entry.hosts == before.hosts else [self._put_entry(undecided(entry))]
        reading = [self._all_held(), *self._guards(name)]
        reply, end = self._client.transact((), reading), monotonic() + CONTENTION
        while True:
            self._ours.refuse_lost(reply.found)
            self._entry_in(reply, name)
            everybody = self._held(reply)
            others, held = _others(everybody, name), everybody.get(name, frozenset())
            refuse_vnis(wants, others.vnis)
            refuse_overlaps(wants, others.subnets)
            if self._begun_with is None:
                self._begun_with = held
            writes = [*begun, *([] if wants <= held else [self._put_held(name, held | wants)])]
            unmoved = etcd.nothing_written_below(self._key("held", ""), reply.revision)
            reply = self._client.transact([*self._fence(name), unmoved], writes, reading)
            if reply.done:
                self._modified = reply.revision if begun else self._modified
                return
            if monotonic() > end:
                raise StoreError(f"others write to {self._client.at} all the time", hint="try again")

    def _write(self, fabric: str, writes: Iterable[etcd.Json]) -> None:
        """One transaction, if the lock is still ours. Raises Locked.

        The entry is not as we know it only where we wrote it ourselves, and heard nothing of that.
        """
        writes = list(writes)
        while True:
            reply = self._client.transact(self._fence(fabric), writes, self._guards(fabric))
            if reply.done:
                self._modified = reply.revision
                return
            self._ours.refuse_lost(reply.found)
            self._entry_in(reply, fabric)

    def _fence(self, fabric: str) -> list[etcd.Json]:
        return [self._ours.is_ours(), etcd.written_at(self._key("fabrics", fabric), self._modified)]

    def _guards(self, fabric: str) -> list[etcd.Json]:
        """What has to be read to know why a write was refused."""
        return [etcd.read(self._ours.key), etcd.read(self._key("fabrics", fabric))]

    @property
    def _ours(self) -> Lock:
        assert self._lock is not None, "only who holds the lock writes"
        return self._lock

    def _entry_in(self, reply: etcd.Reply, fabric: str) -> str:
        """The entry's text, or nothing; from now on we know when it was written."""
        key = self._key("fabrics", fabric)
        found = next((found for found in reply.found if found.key == key), None)
        self._modified = found.modified if found else 0
        return found.value if found else ""

    def _held(self, reply: etcd.Reply) -> dict[str, Leases]:
        """What each fabric holds."""
        held: dict[str, Leases] = {}
        room = self._key("held", "")
        for found in reply.found:
            if found.key.startswith(room):
                try:
                    leases = frozenset(Lease(*lease) for lease in self._read(found.key, found.value))
                    for lease in leases:
                        int(lease.value) if lease.kind == "vni" else ip_network(lease.value)
                except NO_SENSE as error:
                    raise self._senseless(found.key, error) from error
                held[found.key.removeprefix(room)] = leases
        return held

    def _read(self, key: str, text: str) -> Any:
        """What is kept at a key. Raises NO_SENSE, StoreError."""
        said = json.loads(text)
        if said["version"] > _VERSION:
            raise StoreError(
                f"{key} in {self._client.at} was written by a newer netfab",
                hint="upgrade netfab on this host",
            )
        return said["value"]

    def _senseless(self, key: str, error: Exception) -> StoreError:
        return StoreError(
            f"{key} in {self._client.at} is damaged: {error}",
            hint=f"`etcdctl del {key}`, and `netfab apply` of that fabric at once writes it anew",
        )

    def _put_entry(self, entry: Entry) -> etcd.Json:
        return etcd.put(self._key("fabrics", entry.name), _text(entry.plain()))

    def _put_held(self, fabric: str, leases: Leases) -> etcd.Json:
        return etcd.put(self._key("held", fabric), _text(sorted(leases)))

    def _deleted(self, fabric: str) -> list[etcd.Json]:
        return [etcd.delete(self._key(room, fabric)) for room in ("fabrics", "held")]

    def _all_held(self) -> etcd.Json:
        return etcd.read_below(self._key("held", ""))

    def _key(self, room: str, fabric: str) -> str:
        return f"{self._client.at.prefix}/{room}/{fabric}"


def _text(value: Any) -> str:
    return json.dumps({"version": _VERSION, "value": value})


def _exclusive(entry: Entry) -> Leases:
    return frozenset(lease for lease in entry.leases if lease.kind in EXCLUSIVE)


def _others(held: dict[str, Leases], besides: str) -> Others:
    everybodys = [(name, lease) for name in sorted(held) if name != besides for lease in sorted(held[name])]
    return Others(
        tuple(
            HeldSubnet(name, lease.key.rpartition("/")[0], ip_network(lease.value))
            for name, lease in everybodys
            if lease.kind == "subnet"
        ),
        {int(lease.value): name for name, lease in everybodys if lease.kind == "vni"},
    )
