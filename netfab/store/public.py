"""The world-readable part of an applied fabric: /run/netfab/<fabric>.json, without environment or secrets.

It lets `plan`, `status` and completion work without root: they compare with it, root with the kernel.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_network

from netfab.errors import StoreError
from netfab.plan.leases import HeldSubnet, Lease
from netfab.store.store import NO_COMMANDS, NO_SENSE, Record
from netfab.system.files import public_directory
from netfab.system.replace import replacing

SEAL = "seal.json"  # in the fabric's own directory, not public (netfab/applying/seal.py)


class PublicView:
    """The read-only half of a Store, from the files in the run directory."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def close(self) -> None:
        """Nothing to close."""

    def record(self, fabric: str) -> Record | None:
        """What was last applied under that name."""
        found = self._read(fabric)
        return found[0] if found else None

    def records(self) -> list[Record]:
        """All fabrics, by name."""
        return [record for fabric in self._fabrics() if (record := self.record(fabric)) is not None]

    def records_that_are_whole(self) -> list[Record]:
        """All fabrics, by name, except those whose files are damaged."""
        found = []
        for fabric in self._fabrics():
            with suppress(StoreError):
                found.append(self.record(fabric))
        return [record for record in found if record is not None]

    def leases(self, fabric: str) -> frozenset[Lease]:
        """The fabric's leases."""
        found = self._read(fabric)
        return found[1] if found else frozenset()

    def held(self, besides: str) -> list[HeldSubnet]:
        """Subnets that all other fabrics hold."""
        return [
            HeldSubnet(fabric, lease.key.rpartition("/")[0], ip_network(lease.value))
            for fabric in self._fabrics()
            if fabric != besides
            for lease in sorted(self.leases(fabric))
            if lease.kind == "subnet"
        ]

    def published(self, besides: str) -> dict[str, str]:
        """Ports of the host that other fabrics publish."""
        return {
            lease.key: fabric
            for fabric in self._fabrics()
            if fabric != besides
            for lease in self.leases(fabric)
            if lease.kind == "publish"
        }

    def vnis(self, besides: str) -> dict[int, str]:
        """VNIs of other fabrics."""
        return {
            int(lease.value): fabric
            for fabric in self._fabrics()
            if fabric != besides
            for lease in self.leases(fabric)
            if lease.kind == "vni"
        }

    def bridges(self, besides: str) -> dict[str, str]:
        """Bridges of other fabrics."""
        return {
            lease.value: f"network {lease.key} of fabric {fabric}"
            for fabric in self._fabrics()
            if fabric != besides
            for lease in self.leases(fabric)
            if lease.kind == "bridge"
        }

    def borrowed(self, besides: str) -> dict[str, str]:
        """Sysctls that other fabrics borrow, and their original values."""
        return {
            lease.key: lease.value
            for fabric in self._fabrics()
            if fabric != besides
            for lease in self.leases(fabric)
            if lease.kind == "borrowed"
        }

    def _fabrics(self) -> list[str]:
        with suppress(OSError):
            return sorted(name[:-5] for name in os.listdir(self._directory) if name.endswith(".json"))
        return []

    def _read(self, fabric: str) -> tuple[Record, frozenset[Lease]] | None:
        path = f"{self._directory}/{fabric}.json"
        try:
            with open(path) as file:
                return _parsed(fabric, file.read())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}") from error
        except NO_SENSE as error:
            raise StoreError(f"{path} is damaged: {error}", hint="`sudo netfab apply` rewrites it") from error


def _parsed(fabric: str, text: str) -> tuple[Record, frozenset[Lease]]:
    """Parse a published file, except for its many objects. Raises NO_SENSE."""
    found = json.loads(text)
    record = Record(*found["record"])
    leases = frozenset(Lease(*map(_text, lease)) for lease in found["leases"])
    if record.name != fabric:
        raise ValueError(f"it is of fabric {record.name}")
    summary = json.loads(record.summary)
    for text in (record.file, record.desired, record.commands, *summary["nodes"], *summary["networks"]):
        _text(text)
    for lease in leases:
        if lease.kind == "subnet":
            ip_network(lease.value)
    return record, leases


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value


def publish(directory: str, record: Record, leases: frozenset[Lease]) -> None:
    """Write the fabric's file atomically, unless it has that content already.

    Commands and the topology are left out, as they may hold secrets; the caller gives only public objects.
    Raises StoreError.
    """
    parts = list(_parts(record._replace(commands=NO_COMMANDS, topology=""), leases))
    path = f"{directory}/{record.name}.json"
    with suppress(OSError), open(path) as file:
        if all(file.read(len(part)) == part for part in parts) and not file.read(1):
            return
    try:
        public_directory(directory)
        with replacing(path, 0o644) as file:
            file.writelines(parts)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}", hint=f"make room in {directory}") from error


def _parts(record: Record, leases: frozenset[Lease]) -> Iterator[str]:
    """The JSON in parts, so that the megabytes of a large fabric are in memory only once."""
    before = '{"version": 1, "record": ['
    for field in record:
        yield before
        yield json.dumps(field)
        before = ", "
    yield f'], "leases": {json.dumps(sorted(map(_public, leases)))}}}'


def _public(lease: Lease) -> Lease:
    """The public part of a lease: for a container of `run`, without its environment."""
    if lease.kind != "container":
        return lease
    from netfab.topology.default import Wanted  # imports the whole file schema

    return lease._replace(value=Wanted.from_json(lease.value)._replace(env=()).to_json())


def withdraw(directory: str, fabric: str) -> None:
    """Remove the fabric's file, its seal, and directories that are empty then."""
    for name in (f"{fabric}.json", f"{fabric}.json.new", f"{fabric}/{SEAL}", f"{fabric}/{SEAL}.new"):
        with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            os.unlink(f"{directory}/{name}")
    for emptied in (f"{directory}/{fabric}/etc", f"{directory}/{fabric}", directory):
        with suppress(OSError):
            os.rmdir(emptied)
