"""The keys of a shared store, and the encoding of their values.

PREFIX/fabrics/NAME is the entry of a fabric, PREFIX/held/NAME the leases that no other fabric may hold, and
PREFIX/locks/NAME its lock. All values are JSON; an entry is compressed inside it.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from functools import cache
from ipaddress import ip_network
from typing import Any

from netfab.errors import StoreError
from netfab.plan.leases import HeldSubnet, Lease, read_lease
from netfab.store import etcd
from netfab.store.book import Entry, Others, entry_of
from netfab.store.store import NO_SENSE
from netfab.topology.schema import Etcd
from netfab.tuples import NamedTuple

MOST = 64 << 20  # largest entry, in bytes
_VERSION = 1
Leases = frozenset[Lease]
_prefix = cache(ip_network)  # cached: parsing takes most of the time of a claim, and of its retries


class Keys(NamedTuple):
    """The keys of one store."""

    store: Etcd

    def entry(self, fabric: str) -> str:
        return f"{self.store.prefix}/fabrics/{fabric}"

    def held(self, fabric: str) -> str:
        return f"{self.store.prefix}/held/{fabric}"

    def lock(self, fabric: str) -> str:
        return f"{self.store.prefix}/locks/{fabric}"

    def all_held(self) -> etcd.Json:
        """Read what every fabric holds."""
        return etcd.read_below(self.held(""))

    def put_entry(self, entry: Entry) -> etcd.Json:
        """Write it, compressed: it has the whole file, and etcd keeps old values until compaction."""
        packed = b64encode(zlib.compress(json.dumps(entry.plain()).encode())).decode()
        return etcd.put(self.entry(entry.name), json.dumps({"version": _VERSION, "packed": packed}))

    def put_held(self, fabric: str, leases: Leases) -> etcd.Json:
        said = {"version": _VERSION, "leases": sorted(leases)}
        return etcd.put(self.held(fabric), json.dumps(said))

    def deleted(self, fabric: str) -> list[etcd.Json]:
        """Delete everything that is not under a lock's lease."""
        return [etcd.delete(self.entry(fabric)), etcd.delete(self.held(fabric))]

    def read_entry(self, found: etcd.Found) -> Entry:
        """Raises StoreError."""
        try:
            entry = entry_of(json.loads(_unpacked(self._said(found)["packed"])))
            _refuse_senseless(entry, found.key.removeprefix(self.entry("")))
        except NO_SENSE as error:
            raise self._senseless(found.key, error) from error
        return entry

    def read_held(self, reply: etcd.Reply) -> dict[str, Leases]:
        """The leases of each fabric. Raises StoreError."""
        room = self.held("")
        return {
            found.key.removeprefix(room): self._leases(found)
            for found in reply.found
            if found.key.startswith(room)
        }

    def _leases(self, found: etcd.Found) -> Leases:
        try:
            leases = frozenset(Lease(*lease) for lease in self._said(found)["leases"])
            for lease in leases:
                _texts(*lease)
                int(lease.value) if lease.kind == "vni" else _prefix(lease.value)
        except NO_SENSE as error:
            raise self._senseless(found.key, error) from error
        return leases

    def _said(self, found: etcd.Found) -> Mapping[str, Any]:
        """Raises NO_SENSE, StoreError."""
        said: Mapping[str, Any] = json.loads(found.value)
        if said["version"] > _VERSION:
            raise StoreError(
                f"{found.key} in {self.store} was written by a newer netfab",
                hint="upgrade netfab on this host",
            )
        return said

    def _senseless(self, key: str, error: Exception) -> StoreError:
        return StoreError(
            f"{key} in {self.store} is damaged: {error}",
            hint=f"`etcdctl del {key}`, and `netfab apply` of that fabric at once rewrites it",
        )


def _refuse_senseless(entry: Entry, fabric: str) -> None:
    """Validate what others wrote, which becomes part of paths and command lines. Raises NO_SENSE."""
    if entry.name != fabric:
        raise ValueError(f"it is of fabric {entry.name}")
    _texts(entry.file, entry.transaction, entry.topology, entry.store, entry.home)
    _texts(*entry.hosts.keys(), *entry.hosts.values(), *(part for lease in entry.leases for part in lease))
    for lease in entry.leases:
        read_lease(lease)
    _texts(*(node["host"] for node in entry.summary["nodes"].values()))
    if not (isinstance(entry.generation, int) and isinstance(entry.user, int)):
        raise TypeError("its numbers are invalid")


def _texts(*values: object) -> None:
    for value in values:
        if not isinstance(value, str):
            raise TypeError(f"{value!r} is not a text")


def _unpacked(text: str) -> bytes:
    """Raises ValueError if it is no compressed entry, or larger than any entry may be."""
    unpack = zlib.decompressobj()
    try:
        found = unpack.decompress(b64decode(text), MOST)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not unpack.eof:
        raise ValueError("it does not end")
    return found


def others(held: Mapping[str, Leases], besides: str) -> Others:
    """What all other fabrics hold."""
    theirs = [(name, lease) for name in sorted(held) if name != besides for lease in sorted(held[name])]
    return Others(
        tuple(
            HeldSubnet(name, lease.key.rpartition("/")[0], _prefix(lease.value))
            for name, lease in theirs
            if lease.kind == "subnet"
        ),
        {int(lease.value): name for name, lease in theirs if lease.kind == "vni"},
    )
