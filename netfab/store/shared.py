"""What controllers share in etcd: the entries of their books, and leases that no two fabrics may hold.

Only the holder of a fabric's lock writes: each write is one transaction that also compares when the lock
was created, so a holder that lost it unknowingly is refused. Nothing here is needed to clean up a host.
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

EXCLUSIVE = ("subnet", "vni")  # kinds of leases that two fabrics may not both have
CONTENTION = 30.0  # seconds of losing races to others before giving up


class SharedBook:
    """The entries of all controllers; reading needs no lock.

    `copy`: our own book, used to find a fabric by its name.
    """

    def __init__(self, client: etcd.Client, copy: Book, lock: Lock | None = None) -> None:
        self._client, self._copy, self._lock = client, copy, lock
        self._keys = Keys(client.at)
        self._written = 0  # revision of the entry that we know
        self._new = True  # no controller had an entry
        self._begun_with: Leases | None = None  # what the fabric held at `begin`; None: not begun

    def entry(self, fabric: str) -> Entry | None:
        """The entry of the fabric of that name; if it is not in the store, that of our copy."""
        reply = self._client.transact((), [etcd.read(self._keys.entry(fabric))])
        found = self._entry_in(reply, fabric)
        self._new = found is None
        return self._keys.read_entry(found) if found else self._copy.entry(fabric)

    def others(self, besides: str) -> Others:
        """What all other fabrics hold."""
        reply = self._client.transact((), [self._keys.all_held()])
        return others(self._keys.read_held(reply), besides)

    def begin(self, entry: Entry, before: Entry | None) -> None:
        """An apply begins: record all hosts before one is changed, and claim what it wants in addition.

        Raises LeaseConflict, and claims nothing, if another fabric holds some of that.
        """
        self._copy.begin(entry, before)
        try:
            self._claim(entry, before)
        except BaseException:
            self._copy.take_back(entry, before)
            raise

    def keep(self, entry: Entry) -> None:
        """Record the decision.

        What it releases stays held: hosts roll back to that if this write succeeds but its answer is lost.
        """
        self._write(entry.name, [self._keys.put_entry(entry)])
        self._copy.keep(entry)

    def settle(self, entry: Entry) -> None:
        """All hosts have committed: reduce the claims to what was decided. Raises StoreError."""
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
        """An apply was undone: restore entry and claims. What can't be released stays held."""
        name = entry.name
        with suppress(StoreError, Locked):  # the user needs the first failure
            if before is None or self._new:
                self._write(name, self._keys.deleted(name))
            elif self._begun_with is not None:
                held = self._keys.put_held(name, self._begun_with)
                self._write(name, [self._keys.put_entry(before), held])
        self._copy.take_back(entry, before)

    def forget(self, fabric: str) -> None:
        """The fabric is gone from all of its hosts: remove its entry and claims."""
        self._write(fabric, self._keys.deleted(fabric))
        self._copy.forget(fabric)

    def keep_alive(self) -> None:
        """Extend the lock; called now and then. A lost lock is detected by the next write."""
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

        The entry can differ from what we know only by our own write whose answer was lost.
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
        """The reads that show why a write was refused."""
        return [etcd.read(self._ours.key), etcd.read(self._keys.entry(fabric))]

    @property
    def _ours(self) -> Lock:
        assert self._lock is not None, "only who holds the lock writes"
        return self._lock

    def _entry_in(self, reply: etcd.Reply, fabric: str) -> etcd.Found | None:
        """The entry in a reply; remembers the revision at which it was written."""
        key = self._keys.entry(fabric)
        found = next((found for found in reply.found if found.key == key), None)
        self._written = found.modified if found else 0
        return found


def _exclusive(entry: Entry) -> Leases:
    return frozenset(lease for lease in entry.leases if lease.kind in EXCLUSIVE)
