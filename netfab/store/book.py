"""What a controller remembers of fabrics on other hosts: which these are, and what was decided last.

A file for each fabric. The hosts know all the rest; with the book lost, the topology file finds them again.
Where controllers share a store (shared.py), this is a copy, by which a fabric is found when it is named.
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
    """One fabric. `hosts` says how each is reached: `root@ADDRESS`, or "" for this machine."""

    name: str
    file: str  # absolute path, "-" for standard input
    user: int
    hosts: Mapping[str, str]
    generation: int  # of the last apply that was decided
    transaction: str
    summary: Mapping[str, Any]  # of all hosts together; each node's has its `host`
    leases: frozenset[Lease] = frozenset()
    topology: str = ""  # what topology/kept.py keeps of the file; unknown before an apply came to its end
    store: str = ""  # that controllers share, as it is written; "": none
    home: str = ""  # which machine is meant by a host that is reached by nothing

    def plain(self) -> dict[str, Any]:
        """As JSON has it; `entry_of` reads it."""
        return {**self._asdict(), "leases": sorted(self.leases)}


class Others(NamedTuple):
    """What fabrics besides one's own hold in a store that controllers share."""

    subnets: tuple[HeldSubnet, ...] = ()
    vnis: Mapping[int, str] = {}  # VNI -> fabric


NOT_DECIDED = ""  # as the transaction of an entry


def source(file: str, store: str, home: str) -> str:
    """The name that hosts know a file by which a controller has: anybody's, where they share a store."""
    return file if file == "-" else f"{'etcd' if store else home}:{file}"


def undecided(entry: Entry) -> Entry:
    """While it is being applied."""
    return entry._replace(generation=entry.generation - 1, transaction=NOT_DECIDED)


def entry_of(plain: Mapping[str, Any]) -> Entry:
    """Raises NO_SENSE."""
    found = dict(plain)
    leases = frozenset(Lease(*lease) for lease in found.pop("leases"))
    return Entry(**found, leases=leases)


class Book:
    """Entries in a directory that only its owner may enter. Every method raises StoreError."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def entry(self, fabric: str) -> Entry | None:
        """What is known of the fabric of that name."""
        path = self._path(fabric)
        try:
            with open(path, encoding="utf-8") as file:
                return entry_of(json.load(file))
        except FileNotFoundError:
            return None
        except (OSError, *NO_SENSE) as error:
            raise StoreError(f"{path}: {error}", hint="remove it, and `netfab apply` again") from error

    def entries(self) -> list[Entry]:
        """All of them, by name."""
        names: list[str] = []
        with suppress(FileNotFoundError, PermissionError):
            names = sorted(name[:-5] for name in os.listdir(self._directory) if name.endswith(".json"))
        return [entry for name in names if (entry := self.entry(name)) is not None]

    def keep(self, entry: Entry) -> None:
        """Write it, whole or not at all; after a power cut it is there."""
        path = self._path(entry.name)
        self._write(path, lambda: replace_for_good(path, json.dumps(entry.plain()), _beside()))

    def secret(self, fabric: str) -> bytes | None:
        """What the fabric's keys are derived from, as it was made here, or put here by its user."""
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
        """Write it, whole or not at all, where there is none yet."""
        path = self.path_of_secret(fabric)
        self._write(path, lambda: create_for_good(path, f"{secret.hex()}\n", _beside()))
        if self.secret(fabric) != secret:
            raise StoreError(f"{path} was made by another command meanwhile", hint="apply again")

    def path_of_secret(self, fabric: str) -> str:
        """Where it is."""
        return f"{self._directory}/{fabric}.key"

    def others(self, besides: str) -> Others:
        """Nothing: hosts know what is held on them, and refuse what can't be held, too."""
        return Others()

    def begin(self, entry: Entry, before: Entry | None) -> None:
        """An apply begins: all hosts are known before one is changed, so `destroy` finds them all."""
        if before is None or entry.hosts != before.hosts:
            self.keep(undecided(entry))

    def take_back(self, entry: Entry, before: Entry | None) -> None:
        """Nothing of what was begun is left on any host."""
        now = self.entry(entry.name)
        if now is not None and now.transaction == NOT_DECIDED:  # else another controller's is there
            self.keep(before) if before else self.forget(entry.name)

    def settle(self, entry: Entry) -> None:
        """Hosts let go of what they no longer have by themselves."""

    def keep_alive(self) -> None:
        """Nobody waits for us here: hosts have locks of their own."""

    def forget(self, fabric: str) -> None:
        """The fabric is gone from all of its hosts."""
        self.forget_secret(fabric)
        with suppress(FileNotFoundError):
            os.unlink(self._path(fabric))
        with suppress(OSError):  # other fabrics are there, or nothing ever was
            os.rmdir(self._directory)

    def forget_secret(self, fabric: str) -> None:
        """It must go before the leases that count its keys: a key that counts anew is a key used twice.

        So does what a command that was killed had written beside it.
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
        """Into the directory, which others remove when they have forgotten the last entry."""
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
    """Two controllers may write at once."""
    return f".{os.getpid()}"
