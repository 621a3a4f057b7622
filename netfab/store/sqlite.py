"""The store of one host: SQLite in a directory that only its owner may enter.

BEGIN IMMEDIATE throughout: a transaction that starts as a reader fails to become a writer under contention,
whatever the timeout. synchronous=FULL, so that what was claimed is there after a power cut.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from errno import ELOOP
from ipaddress import ip_network
from time import monotonic
from typing import Self
from urllib.parse import quote

from netfab.errors import StoreError
from netfab.plan.leases import HeldSubnet, Lease
from netfab.store.conflicts import overlaps, refuse, taken_bridges, taken_ports, taken_vnis
from netfab.store.store import Part, Record

# What each schema version adds to the one before; the first creates the tables.
_VERSIONS = (
    """
    CREATE TABLE fabrics (name TEXT PRIMARY KEY, file TEXT, user INTEGER, desired TEXT, summary TEXT);
    CREATE TABLE leases (fabric TEXT, kind TEXT, key TEXT, value TEXT, PRIMARY KEY (fabric, kind, key));
    CREATE INDEX subnets ON leases (kind) WHERE kind = 'subnet'
    """,
    "ALTER TABLE fabrics ADD COLUMN commands TEXT NOT NULL DEFAULT '{}'",
    "ALTER TABLE fabrics ADD COLUMN topology TEXT NOT NULL DEFAULT ''",
    "CREATE TABLE parts (fabric TEXT PRIMARY KEY, host TEXT, generation INTEGER, txn TEXT, undecided TEXT)",
)
VERSION = len(_VERSIONS)
_PATIENCE = 30  # seconds
_FOR_WANT_OF_ROOM = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN)
_ROOM = 64 << 10  # bytes; the shared memory of a WAL store takes at least 32 KiB


class SqliteStore:
    """A Store. Readers and writers of other processes wait up to 30 s for each other."""

    def __init__(self, directory: str) -> None:
        self.path = f"{directory}/store.sqlite"
        with self._as_store_error():
            os.makedirs(directory, 0o700, exist_ok=True)
            _refuse_unsafe(directory)
            with _alone(directory):  # switching to WAL is the one step that fails instead of waiting
                _make_private(self.path)
                self._db = sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)
                try:
                    self._prepare()
                except BaseException:
                    self._db.close()
                    raise

    @classmethod
    def empty(cls) -> Self:
        """An empty store in memory."""
        made = cls.__new__(cls)
        made.path, made._db = "", sqlite3.connect(":memory:", isolation_level=None)
        made._upgrade()
        return made

    @classmethod
    def to_read(cls, directory: str) -> Self:
        """The store, read-only, for when SQLite has no room for its files beside it, as on a full disk.

        Raises StoreError, also if a killed process left changes that are not in the main file yet.
        """
        made = cls.__new__(cls)
        made.path = f"{directory}/store.sqlite"
        with made._as_store_error():
            _refuse_unsafe(directory)
            with _alone(directory):  # keeps writers out meanwhile
                with suppress(FileNotFoundError):
                    if os.stat(f"{made.path}-wal").st_size:
                        raise StoreError(f"{made.path}: it is not whole without its -wal")
                with closing(sqlite3.connect(f"file:{quote(made.path)}?immutable=1", uri=True)) as file:
                    made._db = sqlite3.connect(":memory:", isolation_level=None)
                    file.backup(made._db)
            made._upgrade()
            made._db.execute("PRAGMA query_only=1")
        return made

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._upgrade()

    def _upgrade(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise StoreError(
                f"{self.path} was written by a newer netfab (its version {version}, ours {VERSION})",
                hint="upgrade netfab on this host",
            )
        if version < VERSION:
            with self._transaction():
                (version,) = self._db.execute("PRAGMA user_version").fetchone()
                for statement in ";".join(_VERSIONS[version:]).split(";"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version={VERSION}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def record(self, fabric: str) -> Record | None:
        """What was last applied under that name."""
        with self._as_store_error():
            row = self._db.execute("SELECT * FROM fabrics WHERE name = ?", (fabric,)).fetchone()
        return Record(*row) if row else None

    def records(self) -> list[Record]:
        """All fabrics, by name."""
        with self._as_store_error():
            return [Record(*row) for row in self._db.execute("SELECT * FROM fabrics ORDER BY name")]

    def leases(self, fabric: str) -> frozenset[Lease]:
        """The fabric's leases."""
        with self._as_store_error():
            rows = self._db.execute("SELECT kind, key, value FROM leases WHERE fabric = ?", (fabric,))
            return frozenset(Lease(*row) for row in rows)

    def held(self, besides: str) -> list[HeldSubnet]:
        """Subnets that all other fabrics hold."""
        with self._as_store_error():
            rows = self._db.execute(
                "SELECT fabric, key, value FROM leases WHERE kind = 'subnet' AND fabric <> ?"
                " ORDER BY fabric, key",
                (besides,),
            )
            return [
                HeldSubnet(fabric, key.rpartition("/")[0], ip_network(value)) for fabric, key, value in rows
            ]

    def published(self, besides: str) -> dict[str, str]:
        """Ports of the host that other fabrics publish."""
        with self._as_store_error():
            rows = self._db.execute(
                "SELECT key, fabric FROM leases WHERE kind = 'publish' AND fabric <> ?", (besides,)
            )
            return dict(rows.fetchall())

    def vnis(self, besides: str) -> dict[int, str]:
        """VNIs of other fabrics."""
        with self._as_store_error():
            rows = self._db.execute(
                "SELECT value, fabric FROM leases WHERE kind = 'vni' AND fabric <> ?", (besides,)
            )
            return {int(value): fabric for value, fabric in rows}

    def bridges(self, besides: str) -> dict[str, str]:
        """Bridges of other fabrics."""
        with self._as_store_error():
            rows = self._db.execute(
                "SELECT value, key, fabric FROM leases WHERE kind = 'bridge' AND fabric <> ?", (besides,)
            )
            return {bridge: f"network {network} of fabric {fabric}" for bridge, network, fabric in rows}

    def borrowed(self, besides: str) -> dict[str, str]:
        """Sysctls that other fabrics borrow, and their original values."""
        with self._as_store_error():
            rows = self._db.execute(
                "SELECT key, value FROM leases WHERE kind = 'borrowed' AND fabric <> ?", (besides,)
            )
            return dict(rows.fetchall())

    def contents(self) -> list[tuple[str | int, ...]]:
        """Everything that plans depend on, as rows that differ whenever it does."""
        with self._as_store_error():
            fabrics = self._db.execute(
                "SELECT name, file, user, length(desired), summary, commands, length(topology) FROM fabrics"
                " ORDER BY name"
            )
            leases = self._db.execute("SELECT * FROM leases ORDER BY fabric, kind, key")
            parts = self._db.execute("SELECT * FROM parts ORDER BY fabric")
            return [*fabrics, *leases, *parts]

    def claim(self, fabric: str, claims: Iterable[Lease]) -> None:
        """Claim these, in addition. Raises LeaseConflict if another fabric was first."""
        wanted = frozenset(claims)
        if wanted <= self.leases(fabric):
            return
        with self._as_store_error(), self._transaction():
            refuse(
                taken_ports(wanted, self.published(fabric)),
                taken_vnis(wanted, self.vnis(fabric)),
                taken_bridges(wanted - self.leases(fabric), self.bridges(fabric)),
                overlaps(wanted, self.held(fabric)),
            )
            self._insert(fabric, wanted)

    def commit(self, record: Record, claims: Iterable[Lease], part: Part | None = None) -> None:
        """The fabric was applied: store this record, exactly these leases, and that part."""
        wanted = frozenset(claims)
        same = self.record(record.name) == record and self.leases(record.name) == wanted
        if same and part in (None, self.part(record.name)):
            return
        with self._as_store_error(), self._transaction():
            self._db.execute("INSERT OR REPLACE INTO fabrics VALUES (?, ?, ?, ?, ?, ?, ?)", record)
            self._db.execute("DELETE FROM leases WHERE fabric = ?", (record.name,))
            self._insert(record.name, wanted)
            if part is not None:
                self._insert_part(record.name, part)

    def part(self, fabric: str) -> Part | None:
        """What is stored about this host's part."""
        with self._as_store_error():
            row = self._db.execute("SELECT * FROM parts WHERE fabric = ?", (fabric,)).fetchone()
        return Part(*row[1:]) if row else None

    def keep_part(self, fabric: str, part: Part) -> None:
        """Store that, and leave record and leases as they are."""
        with self._as_store_error(), self._transaction():
            self._insert_part(fabric, part)

    def _insert_part(self, fabric: str, part: Part) -> None:
        self._db.execute("INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?, ?)", (fabric, *part))

    def forget(self, fabric: str) -> None:
        """The fabric is gone: delete its record and leases."""
        with self._as_store_error(), self._transaction():
            self._db.execute("DELETE FROM leases WHERE fabric = ?", (fabric,))
            self._db.execute("DELETE FROM fabrics WHERE name = ?", (fabric,))
            self._db.execute("DELETE FROM parts WHERE fabric = ?", (fabric,))

    def _insert(self, fabric: str, leases: Iterable[Lease]) -> None:
        self._db.executemany(
            "INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?)",
            [(fabric, *lease) for lease in sorted(leases)],
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._turn() if self.path else nullcontext():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # SQLite itself rolls back if out of space or memory
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Queue writers, each woken by the one before it; correctness does not depend on this.

        In SQLite a writer that has waited longer sleeps longer between polls: of 50 that wrote in a loop,
        the last waited for 29 of its 30 s.
        """
        fd = -1
        try:
            with suppress(OSError):  # a full disk, for example
                fd = os.open(
                    f"{self.path}-turn", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
                )
                _wait_for_turn(fd)
            yield
        finally:
            if fd != -1:
                fcntl.flock(fd, fcntl.LOCK_UN)  # a process forked meanwhile has it open
                os.close(fd)

    @contextmanager
    def _as_store_error(self) -> Iterator[None]:
        """Errors of SQLite and the file system, as StoreError.

        A broken store also returns invalid values: hence ValueError and the like.
        """
        try:
            yield
        except UnicodeEncodeError as error:  # of our own making: a path that is not valid text
            raise StoreError(f"{error.object!r} can't be kept: it is not UTF-8") from error
        except (sqlite3.Error, OSError, ValueError, TypeError, AttributeError) as error:
            broken = not isinstance(error, (OSError, sqlite3.OperationalError))
            hint = "`netfab recover` rebuilds it from what the kernel shows" if broken else ""
            told = (isinstance(error, OSError) and error.strerror) or error
            if _code(error) in _FOR_WANT_OF_ROOM and _is_full(os.path.dirname(self.path)):
                told, hint = "the disk is full", "make room there"
            raise StoreError(f"{self.path}: {told}", hint=hint) from error


def _wait_for_turn(fd: int) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        from netfab.system.flock import Expired, lock_within  # most commands need not wait

        with suppress(Expired):
            lock_within(fd, monotonic() + _PATIENCE)


def _refuse_unsafe(directory: str) -> None:
    found = os.stat(directory)
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        owner = f"it belongs to user {found.st_uid} and has mode {found.st_mode & 0o777:o}"
        raise StoreError(
            f"{directory} is not safe: {owner}",
            hint=f"chown {os.geteuid()} {directory} && chmod 700 {directory}",
        )


def _code(error: Exception) -> int:
    """SQLite's primary result code; 0 if the error is not SQLite's."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _is_full(directory: str) -> bool:
    """Whether there is no space for SQLite's files beside the store, which it reports as an I/O error."""
    try:
        found = os.statvfs(directory)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < _ROOM


@contextmanager
def _alone(directory: str) -> Iterator[None]:
    """Exclude other processes."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _make_private(path: str) -> None:
    """Create the file, or remove other users' permissions on it. Raises OSError if it is a link.

    An existing one is not opened: closing it would release the locks of this process's other connections
    (fcntl(2)).
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    found = os.lstat(path)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(ELOOP, "it is not a regular file")
    if found.st_mode & 0o077:
        os.chmod(path, 0o600)


def set_aside(directory: str) -> str:
    """Rename a broken store, so that a new one can be created; returns its new path."""
    kept = f"{directory}/store.broken"
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.replace(f"{directory}/store.sqlite{suffix}", f"{kept}{suffix}")
    return kept
