"""What controllers share of fabrics, in etcd: entries of the book, and what no two fabrics may hold.

Only who holds a fabric's lock writes of it: each write is one transaction that also compares when the lock
was made, so whoever lost it, and does not know, is refused. Nothing here is needed to clean up a host.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from time import monotonic

from netfab.errors import Locked, StoreError
from netfab.store import etcd
from netfab.store.book import Book, Entry, Others, undecided
from netfab.store.conflicts import overlaps, refuse, taken_vnis
from netfab.store.etcd_lock import Lock
from netfab.store.shared_keys import Keys, Leases, others

EXCLUSIVE = ("subnet", "vni")  # kinds of leases that no two fabrics may both have
CONTENTION = 30.0  # seconds in which others may go on being first


class SharedBook:
    """Entries of all controllers; who only reads needs no lock.

    `copy`: our own book, by which a fabric is found when it is named.
    """

    def __init__(self, client: etcd.Client, copy: Book, lock: Lock | None = None) -> None:
        self._client, self._copy, self._lock = client, copy, lock
        self._keys = Keys(client.at)
        self._written = 0  # when the entry was, that we know
        self._new = True  # nobody had an entry
        self._begun_with: Leases | None = None  # what the fabric held then; None: we have not begun

    def entry(self, fabric: str) -> Entry | None:
        """What is known of the fabric of that name; where nobody else knows it, what our copy says."""
        reply = self._client.transact((), [etcd.read(self._keys.entry(fabric))])
        found = self._entry_in(reply, fabric)
        self._new = found is None
        return self._keys.read_entry(found) if found else self._copy.entry(fabric)

    def others(self, besides: str) -> Others:
        """What all other fabrics hold."""
        reply = self._client.transact((), [self._keys.all_held()])
        return others(self._keys.read_held(reply), besides)

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
        self._write(entry.name, [self._keys.put_entry(entry)])
        self._copy.keep(entry)

    def settle(self, entry: Entry) -> None:
        """Hosts have what was decided, so it holds exactly that. Raises StoreError."""
        claims = _exclusive(entry)
        if self._begun_with is None or self._begun_with <= claims:
            return
        try:
            self._write(entry.name, [self._keys.put_held(entry.name, claims)])
        except (StoreError, Locked) as error:
            raise StoreError(
                f"fabric {entry.name} is applied, and what it let go of is still held: {error.message}",
                hint="`netfab apply` again frees it",
            ) from error

    def take_back(self, entry: Entry, before: Entry | None) -> None:
        """Nothing of what was begun is left on any host. What can't be let go of stays held."""
        name = entry.name
        with suppress(StoreError, Locked):  # what failed first is what the user has to know
            if before is None or self._new:
                self._write(name, self._keys.deleted(name))
            elif self._begun_with is not None:
                held = self._keys.put_held(name, self._begun_with)
                self._write(name, [self._keys.put_entry(before), held])
        self._copy.take_back(entry, before)

    def forget(self, fabric: str) -> None:
        """The fabric is gone from all of its hosts."""
        self._write(fabric, self._keys.deleted(fabric))
        self._copy.forget(fabric)

    def keep_alive(self) -> None:
        """Hold the lock longer; called now and then. That it was lost is found out by the next write."""
        if self._lock is not None:
            self._lock.keep_alive()

    def _claim(self, entry: Entry, before: Entry | None) -> None:
        name, claims = entry.name, _exclusive(entry)
        begun = [] if before and entry.hosts == before.hosts else [self._keys.put_entry(undecided(entry))]
        reading = [self._keys.all_held(), *self._guards(name)]
        reply, end = self._client.transact((), reading), monotonic() + CONTENTION
        while True:
            self._ours.refuse_lost(reply.found)
            self._entry_in(reply, name)
            everybody = self._keys.read_held(reply)
            theirs, held = others(everybody, name), everybody.get(name, frozenset())
            refuse(taken_vnis(claims, theirs.vnis), overlaps(claims, theirs.subnets))
            if self._begun_with is None:
                self._begun_with = held
            writes = [*begun, *([] if claims <= held else [self._keys.put_held(name, held | claims)])]
            unmoved = etcd.nothing_written_below(self._keys.held(""), reply.revision)
            reply = self._client.transact([*self._fence(name), unmoved], writes, reading)
            if reply.done:
                self._written = reply.revision if begun else self._written
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
                self._written = reply.revision
                return
            self._ours.refuse_lost(reply.found)
            self._entry_in(reply, fabric)

    def _fence(self, fabric: str) -> list[etcd.Json]:
        return [self._ours.is_ours(), etcd.written_at(self._keys.entry(fabric), self._written)]

    def _guards(self, fabric: str) -> list[etcd.Json]:
        """What has to be read to know why a write was refused."""
        return [etcd.read(self._ours.key), etcd.read(self._keys.entry(fabric))]

    @property
    def _ours(self) -> Lock:
        assert self._lock is not None, "only who holds the lock writes"
        return self._lock

    def _entry_in(self, reply: etcd.Reply, fabric: str) -> etcd.Found | None:
        """From now on we know when it was written."""
        key = self._keys.entry(fabric)
        found = next((found for found in reply.found if found.key == key), None)
        self._written = found.modified if found else 0
        return found


def _exclusive(entry: Entry) -> Leases:
    return frozenset(lease for lease in entry.leases if lease.kind in EXCLUSIVE)
