"""What a controller remembers of fabrics on other hosts: the hosts, and the last decision.

One file per fabric. The hosts know the rest; if the book is lost, the topology file leads to them again.
If controllers share a store (shared.py), this is a copy, used to find a fabric by its name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from netfab.errors import StoreError
from netfab.plan.leases import HeldSubnet, Lease
from netfab.store.store import NO_SENSE
from netfab.system.replace import create_for_good, replace_for_good
from netfab.tuples import NamedTuple

_SECRET = 32  # bytes
_REMOVE = "remove it: a new one is made"


class Entry(NamedTuple):
    """One fabric. `hosts`: how each is reached: `root@ADDRESS`, or "" for this machine."""

    name: str
    file: str  # absolute path, "-" for standard input
    user: int
    hosts: Mapping[str, str]
    generation: int  # of the last apply that was decided
    transaction: str
    summary: Mapping[str, Any]  # of all hosts together; each node has its `host`
    leases: frozenset[Lease] = frozenset()
    topology: str = ""  # the file, as topology/kept.py keeps it; unknown before an apply completed
    store: str = ""  # the shared store, as written in the file; "": none
    home: str = ""  # which machine is meant by a host without a destination

    def plain(self) -> dict[str, Any]:
        """Plain data for JSON; `entry_of` reads it."""
        return {**self._asdict(), "leases": sorted(self.leases)}


class Others(NamedTuple):
    """What other fabrics hold in a shared store."""

    subnets: tuple[HeldSubnet, ...] = ()
    vnis: Mapping[int, str] = {}  # VNI -> fabric


NOT_DECIDED = ""  # the transaction of an entry that is being applied


def source(file: str, store: str, home: str) -> str:
    """The name by which hosts know a controller's file; the same for all controllers of a shared store."""
    return file if file == "-" else f"{'etcd' if store else home}:{file}"


def undecided(entry: Entry) -> Entry:
    """The entry while it is being applied."""
    return entry._replace(generation=entry.generation - 1, transaction=NOT_DECIDED)


def entry_of(plain: Mapping[str, Any]) -> Entry:
    """The inverse of `plain`. Raises NO_SENSE."""
    found = dict(plain)
    leases = frozenset(Lease(*lease) for lease in found.pop("leases"))
    return Entry(**found, leases=leases)


class Book:
    """Entries in a directory that only its owner may enter. Every method raises StoreError."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def entry(self, fabric: str) -> Entry | None:
        """The entry of the fabric of that name."""
        path = self._path(fabric)
        try:
            with open(path, encoding="utf-8") as file:
                return entry_of(json.load(file))
        except FileNotFoundError:
            return None
        except (OSError, *NO_SENSE) as error:
            raise StoreError(f"{path}: {error}", hint="remove it, and `netfab apply` again") from error

    def entries(self) -> list[Entry]:
        """All entries, by name."""
        names: list[str] = []
        with suppress(FileNotFoundError, PermissionError):
            names = sorted(name[:-5] for name in os.listdir(self._directory) if name.endswith(".json"))
        return [entry for name in names if (entry := self.entry(name)) is not None]

    def keep(self, entry: Entry) -> None:
        """Write it atomically; it survives a power cut."""
        path = self._path(entry.name)
        self._write(path, lambda: replace_for_good(path, json.dumps(entry.plain()), _beside()))

    def secret(self, fabric: str) -> bytes | None:
        """The secret of the fabric's keys, as generated here, or put here by the user."""
        path = self.path_of_secret(fabric)
        try:
            with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), encoding="ascii") as file:
                found = os.fstat(file.fileno())
                if found.st_mode & 0o077 or found.st_uid not in (0, os.geteuid()):
                    raise StoreError(
                        f"{path} can be read by others", hint="`chmod 600`; or remove it: a new one is made"
                    )
                secret = bytes.fromhex(file.read())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise StoreError(f"{path}: {error}", hint=_REMOVE) from error
        if len(secret) != _SECRET:
            raise StoreError(f"{path} has {len(secret)} bytes, not {_SECRET}", hint=_REMOVE)
        return secret

    def keep_secret(self, fabric: str, secret: bytes) -> None:
        """Write it atomically, if there is none yet."""
        path = self.path_of_secret(fabric)
        self._write(path, lambda: create_for_good(path, f"{secret.hex()}\n", _beside()))
        if self.secret(fabric) != secret:
            raise StoreError(f"{path} was made by another command meanwhile", hint="apply again")

    def path_of_secret(self, fabric: str) -> str:
        """The path of the fabric's secret."""
        return f"{self._directory}/{fabric}.key"

    def others(self, besides: str) -> Others:
        """Nothing: hosts know what is held on them, and refuse conflicts themselves."""
        return Others()

    def begin(self, entry: Entry, before: Entry | None) -> None:
        """An apply begins: record all hosts before one is changed, so that `destroy` finds them all."""
        if before is None or entry.hosts != before.hosts:
            self.keep(undecided(entry))

    def take_back(self, entry: Entry, before: Entry | None) -> None:
        """An apply was undone: restore the entry from before it."""
        now = self.entry(entry.name)
        if now is not None and now.transaction == NOT_DECIDED:  # else it is another controller's
            self.keep(before) if before else self.forget(entry.name)

    def settle(self, entry: Entry) -> None:
        """Nothing: hosts release what they no longer have by themselves."""

    def keep_alive(self) -> None:
        """Nothing: there is no lock here, hosts have their own."""

    def forget(self, fabric: str) -> None:
        """The fabric is gone from all of its hosts: remove its entry."""
        self.forget_secret(fabric)
        with suppress(FileNotFoundError):
            os.unlink(self._path(fabric))
        with suppress(OSError):  # other fabrics are there, or there was no directory
            os.rmdir(self._directory)

    def forget_secret(self, fabric: str) -> None:
        """Remove the secret, before the leases that count its keys: counting anew would reuse a key.

        Also removes temporary files of commands that were killed.
        """
        names: list[str] = []
        with suppress(FileNotFoundError):
            names = os.listdir(self._directory)
        for name in names:
            beside, _, process = name.rpartition(".")
            if f"{fabric}.key" in (name, beside if process.isdecimal() else ""):
                with suppress(FileNotFoundError):  # its writer was faster
                    os.unlink(f"{self._directory}/{name}")

    def _write(self, path: str, write: Callable[[], None]) -> None:
        """Write into the directory, which others remove when they forget the last entry."""
        try:
            while True:
                os.makedirs(self._directory, 0o700, exist_ok=True)
                with suppress(FileNotFoundError):
                    return write()
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}", hint="make room, or it writable") from error

    def _path(self, fabric: str) -> str:
        return f"{self._directory}/{fabric}.json"


def _beside() -> str:
    """A unique suffix for a temporary file: two controllers may write at once."""
    return f".{os.getpid()}"
