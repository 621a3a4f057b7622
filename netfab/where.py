"""Where netfab keeps its state, and how to open it: the store, the host, the lock of a fabric.

Changes nothing, except that it creates a store that does not exist.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from netfab.engine.apply import Progress, no_progress
from netfab.engine.diff import Change, as_applied
from netfab.errors import (
    AppliedElsewhere,
    NetfabError,
    NoSuchFabric,
    NotRoot,
    StoreError,
    StoreUnreachable,
    Unsupported,
)
from netfab.hosts.interrupt import deferred
from netfab.hosts.lock import locked
from netfab.objects.base import Fabric, Hook, no_hook
from netfab.plan.leases import Lease
from netfab.runtime.paths import RUN_DIRECTORY, STATE_DIRECTORY
from netfab.store.public import PublicView
from netfab.store.store import NO_SENSE, Record, Store
from netfab.tuples import NamedTuple

if TYPE_CHECKING:
    from netfab.hosts.local import LocalHost
    from netfab.objects.kinds import Kinds
    from netfab.store.book import Book, Entry
    from netfab.store.shared import SharedBook
    from netfab.topology.schema import Etcd


OLDEST_KERNEL = (6, 1)


def _quiet(_: str) -> None:
    pass


class Where(NamedTuple):
    """Where netfab keeps its state, and how long it waits and what it reports meanwhile."""

    state: str = STATE_DIRECTORY
    run: str = RUN_DIRECTORY
    lock_timeout: float = 60.0  # seconds
    waiting: Callable[[str], None] = _quiet  # called with what we wait for: a lock, a node
    progress: Progress = no_progress
    hook: Hook = no_hook  # called before each step: -vv prints it, tests fail there
    say: Callable[[str], None] = _quiet  # called with incidents: a mirror does not answer
    unattended: bool = False  # no user asked: a program that its restart policy leaves stopped stays so
    store: Store | None = None  # open already, in a command that uses it more than once


HERE = Where()


def applying_user() -> int:
    """The id of the user who runs the command; with sudo(8), of its caller."""
    caller = os.environ.get("SUDO_UID", "")
    return int(caller) if os.getuid() == 0 and caller.isdecimal() else os.getuid()


def need_root(command: str) -> None:
    """Raises NotRoot unless run by root."""
    if os.geteuid() != 0:
        raise NotRoot("needs root", hint=f"sudo netfab {command} …, or `netfab lab`, which needs none")


def need_kernel() -> None:
    """Raises Unsupported for a kernel older than any that was tested; removal still works there."""
    found = re.match(r"(\d+)\.(\d+)", release := os.uname().release)
    if found and tuple(map(int, found.groups())) < OLDEST_KERNEL:
        oldest = ".".join(map(str, OLDEST_KERNEL))
        raise Unsupported(
            f"this kernel is {release}, and netfab needs {oldest} or newer",
            hint="Debian 12 and Ubuntu 24.04 have one; `netfab doctor` tests what this one can do",
        )


def opened_book(where: Where) -> Book:
    """A controller's book of fabrics on other hosts; an ordinary user's is below the home directory."""
    from netfab.store.book import Book

    if os.geteuid() == 0:
        return Book(f"{where.state}/controller")
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return Book(f"{data}/netfab/controller")


def store_of(entry: Entry) -> Etcd | None:
    """The store that a fabric's controllers share. Raises StoreError if the book is damaged."""
    from netfab.topology import grammar

    try:
        return grammar.store(entry.store or "sqlite")
    except grammar.Wrong as wrong:
        raise StoreError(f"the book's entry of fabric {entry.name}: {wrong}") from wrong


def known_entry(name: str, where: Where) -> Entry | None:
    """The book's entry for a fabric on other hosts; if its store is out of reach, the last one known here."""
    entry = opened_book(where).entry(name)
    if entry is None or not entry.store:
        return entry
    store = store_of(entry)
    assert store is not None
    with suppress(StoreUnreachable), shared_book(store, where) as book:
        return book.entry(name)
    return entry


@contextmanager
def shared_book(store: Etcd, where: Where) -> Iterator[SharedBook]:
    """What all controllers know, for reading. Raises StoreError."""
    from netfab.store.etcd import Client
    from netfab.store.shared import SharedBook

    client = Client(store)
    try:
        yield SharedBook(client, opened_book(where))
    finally:
        client.close()


@contextmanager
def locked_book(fabric: str, store: Etcd | None, where: Where) -> Iterator[Book | SharedBook]:
    """The book, to write about that fabric; a shared one is locked for it. Raises Locked, StoreError."""
    if store is None:
        yield opened_book(where)
        return
    from netfab.store import etcd_lock
    from netfab.store.etcd import Client
    from netfab.store.shared import SharedBook
    from netfab.store.shared_keys import Keys

    client = Client(store)
    try:
        with etcd_lock.held(client, Keys(store).lock(fabric), where.lock_timeout, where.waiting) as lock:
            yield SharedBook(client, opened_book(where), lock)
    finally:
        client.close()


@contextmanager
def opened_store(where: Where) -> Iterator[Store]:
    """The store; without root, the published part of it, read-only. Raises StoreError."""
    if where.store is not None:
        yield where.store
        return
    if os.geteuid() == 0:
        from netfab.store.sqlite import SqliteStore

        store: Any = SqliteStore(where.state)
    else:
        store = PublicView(where.run)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def read_store(where: Where) -> Iterator[Store]:
    """The store, for reading: needs no disk space, and a missing one is not made. Raises StoreError."""
    if where.store is not None or os.geteuid() != 0:
        with opened_store(where) as store:
            yield store
        return
    from netfab.store.sqlite import SqliteStore

    found: Any
    if not os.path.lexists(f"{where.state}/store.sqlite"):
        found = SqliteStore.empty()
    else:
        try:
            found = SqliteStore(where.state)
        except StoreError as error:
            try:
                found = SqliteStore.to_read(where.state)
            except StoreError:
                raise error from None
    try:
        yield found
    finally:
        found.close()


def records(where: Where = HERE) -> list[Record]:
    """All fabrics that were applied on this host."""
    with read_store(where) as store:
        return store.records()


def no_fabrics(where: Where) -> str:
    """What to do if the store has no fabric: one that was published was lost with it."""
    if not (lost := lost_records(where)):
        return "`netfab apply FILE` makes one"
    return f"the store lost {_names(lost)}: `netfab recover` rebuilds it"


def refuse_lost(where: Where) -> None:
    """Raises StoreError if the store has no fabric although some were published."""
    if lost := lost_records(where):
        raise StoreError(f"the store lost {_names(lost)}", hint="`netfab recover` rebuilds it")


def lost_records(where: Where) -> list[Record]:
    """Fabrics that were published but are not in the store: they were lost with it."""
    if os.geteuid() != 0 or records(where):
        return []
    return PublicView(where.run).records_that_are_whole()


def _names(found: Iterable[Record]) -> str:
    return ", ".join(record.name for record in found)


def records_of_any(where: Where = HERE) -> list[Record]:
    """From the store, or, if that can't be read, as they were published.

    Raises StoreError if neither can be read.
    """
    try:
        return records(where)
    except StoreError:
        if published := PublicView(where.run).records_that_are_whole():
            return published
        raise


@contextmanager
def opened_host(name: str, where: Where) -> Iterator[LocalHost]:
    """This host, for one fabric; signals are handled between two steps. Raises Interrupted."""
    from netfab.hosts.local import LocalHost  # many commands need nothing but the store

    with deferred() as interrupts, LocalHost(name, where.run, where.hook, where.state) as host:
        host.interrupts, host.waiting_for, host.unattended = interrupts, where.waiting, where.unattended
        yield host


@contextmanager
def locked_fabric(name: str, where: Where) -> Iterator[None]:
    """Hold the lock of this fabric, so that no other command changes it. Raises Locked."""
    with locked(f"{where.run}/{name}.lock", where.lock_timeout, where.waiting):
        yield


def known_record(store: Store, name: str, where: Where) -> Record:
    """The fabric's record. Raises NoSuchFabric."""
    record = store.record(name)
    if record is None:
        from netfab.topology.suggest import did_you_mean

        names = [record.name for record in store.records()]
        listed = f"those here: {', '.join(names)}" if names else no_fabrics(where)
        raise NoSuchFabric(
            f"there is no fabric {name} on this host", hint=did_you_mean(name, names) or listed
        )
    return record


def whole_record(store: Store, name: str, where: Where) -> Record:
    """The record of an apply that was completed. Raises NetfabError if there is none."""
    record = known_record(store, name, where)
    if not record.whole:
        apply = f"apply {record.file}" if record.file else f"reconcile {name}"
        raise NetfabError(
            f"fabric {name} is not fully applied: its first apply still runs, or was killed",
            hint=f"`netfab {apply}` completes it, `netfab destroy {name}` removes what there is",
        )
    return record


def refuse_another(record: Record | Entry | None, file: str, take_over: bool = False) -> None:
    """Raises AppliedElsewhere if the fabric exists and was applied from another file, unless taken over."""
    if record is not None and record.file != file and not take_over:
        raise AppliedElsewhere(record.name, record.file, file)


def refuse_elsewhere(name: str, where: Where) -> None:
    """Raises NetfabError if this machine has a fabric of that name on other hosts: commands mean that one."""
    entry = opened_book(where).entry(name)
    if entry is not None and entry.hosts:
        way = next(iter(entry.hosts.values()))
        again = f"`--ssh {way}` goes on there; " if entry.hosts == {way: way} else ""
        raise NetfabError(
            f"fabric {name} is on {', '.join(entry.hosts)}, and would be here a second time",
            hint=f"{again}`netfab destroy {name}` ends that one, --name makes another",
        )


class Kept(NamedTuple):
    """What the store has of a fabric, still encoded: kinds that nobody asks for are not decoded."""

    name: str
    record: Record | None
    leases: frozenset[Lease]
    others: Mapping[str, str]  # what other fabrics borrow

    def applied(self, kinds: Kinds | None = None) -> Fabric:
        """The objects of these kinds (default: ASKED) in the fabric as it was last applied.

        Empty if it never was. What a killed apply had claimed to borrow, or to move into a namespace, counts,
        too; what other fabrics still borrow does not: the last fabric to go restores it.
        """
        from netfab.objects.borrowed import Borrowed
        from netfab.objects.kinds import ASKED

        text, kinds = self.record.desired if self.record else "", ASKED if kinds is None else kinds
        mentioned = kinds.mentioned(text)
        last = Fabric.from_json(text, mentioned) if mentioned else Fabric(self.name)
        claimed = [Borrowed(lease.key, "", lease.value) for lease in self.leases if lease.kind == "borrowed"]
        for lease in self.leases:
            if lease.kind == "inside":
                claimed += Fabric.from_json(lease.value, kinds).values()
        if not (claimed or self.others):
            return last
        known = {thing.names[0]: thing for thing in claimed} | last
        own = (thing for thing in known.values() if getattr(thing, "key", None) not in self.others)
        return Fabric(self.name, own)

    def shown(self, changes: tuple[Change, ...]) -> tuple[Change, ...]:
        """Changes that were made to it, for display: deletions as they were applied."""
        from netfab.objects.kinds import KINDS

        ended = {type(one.before).__name__ for one in changes if one.after is None}
        return as_applied(changes, self.applied(KINDS.of(ended))) if ended else changes


def kept_of(store: Store, name: str) -> Kept:
    """What the store has of the fabric now."""
    return Kept(name, store.record(name), store.leases(name), store.borrowed(name))


def last_applied(store: Store, name: str, kinds: Kinds | None = None) -> Fabric:
    """The fabric as it was last applied, as `Kept.applied` says."""
    return kept_of(store, name).applied(kinds)


def last_of_any(name: str, where: Where, kinds: Kinds | None = None) -> Fabric:
    """From the store; if that can't be read, as it was published; if neither can, nothing."""
    with suppress(StoreError, *NO_SENSE), opened_store(where) as store:
        return last_applied(store, name, kinds)
    return last_published(name, where, kinds)


def last_published(name: str, where: Where, kinds: Kinds | None = None) -> Fabric:
    """As it was published for everybody; empty if that can't be read."""
    published: Any = PublicView(where.run)
    with suppress(StoreError, *NO_SENSE):
        return last_applied(published, name, kinds)
    return Fabric(name)
