"""The seal of an apply: if everything that it read is still the same, the next apply has nothing to do.

Planning and comparing are functions of what is read: file, store, facts, kernel. A successful apply stores
fingerprints of all that. The next one reads it again, and where nothing differs it skips the computation. A
lost or outdated seal costs nothing but time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from time import monotonic_ns
from typing import TYPE_CHECKING

from netfab import __version__
from netfab.kernel.dumps import GLANCE
from netfab.objects.digest import digest
from netfab.objects.firewall import Firewall
from netfab.store.public import SEAL
from netfab.store.store import Store
from netfab.system.files import public_directory
from netfab.system.replace import replace_file
from netfab.topology import MAX_BYTES
from netfab.tuples import NamedTuple
from netfab.where import Where, applying_user, last_applied, locked_fabric, opened_host, opened_store

if TYPE_CHECKING:
    from netfab.topology.schema import Topology


class Seal(NamedTuple):
    """Fingerprints of the plan's input and of the host after the apply; the warnings that were shown."""

    asked: str
    found: str
    warnings: list[str]


def origin_of(text: bytes, file: str, name: str | None) -> str:
    """A digest of this file and of how it was given; "" if it uses variables."""
    if b"${" in text:
        return ""
    asked = "\0".join((file, os.path.abspath(file), name or ""))
    return digest(asked.encode(errors="surrogateescape") + b"\0" + text).hex()


def with_origin(topology: Topology, origin: str, text: str) -> Topology:
    """The topology with its text, if nothing else was read, and its origin, if nothing has to be looked up.

    Other files, other hosts and a shared store are read; images, guests, NICs and the readiness of programs
    have to be looked up.
    """
    nodes = topology.nodes.values()
    if not origin or topology.hosts or topology.store or any(file.source for n in nodes for file in n.files):
        return topology
    asking = topology.uses_nics or any(n.attach or n.ready or n.image != "host" for n in nodes)
    return topology._replace(text=text, origin="" if asking else origin)


def unchanged(file: str, name: str | None, where: Where) -> Sequence[str] | None:
    """The plan's warnings, if applying that file would change nothing; None if that is not known."""
    origin = _origin_at(file, name) if os.geteuid() == 0 and file != "-" else ""
    if not origin:
        return None
    with opened_store(where) as store:
        names = [record.name for record in store.records() if record.file == os.path.abspath(file)]
        for fabric in names if name is None else [name]:
            sealed = _read(fabric, where)
            if sealed is None:
                continue
            with locked_fabric(fabric, where), opened_host(fabric, where) as host:
                if sealed.asked == _asked(origin, store, where):
                    host.read_ahead(GLANCE)
                    host.facts()
                    dump = host.glance((last_applied(store, fabric),))
                    tables = tuple(Firewall.read(dump))
                    hindered = host.foreign_drops(tables)  # apply itself reports these
                    if sealed.found == host.fingerprint(tables) and not hindered:
                        return sealed.warnings
    return None


def seal(fabric: str, origin: str, found: str, warnings: Sequence[str], store: Store, where: Where) -> None:
    """Record that a successful apply from that origin left the host with that fingerprint."""
    path = _path(fabric, where)
    told = json.dumps(Seal(_asked(origin, store, where), found, list(warnings)))
    with suppress(OSError):
        public_directory(os.path.dirname(path))
        replace_file(path, told)


def _path(fabric: str, where: Where) -> str:
    return f"{where.run}/{fabric}/{SEAL}"


def _read(fabric: str, where: Where) -> Seal | None:
    try:
        with open(_path(fabric, where)) as opened:
            return Seal(*json.load(opened))
    except (OSError, ValueError, TypeError):
        return None


def _origin_at(file: str, name: str | None) -> str:
    try:
        with open(file, "rb") as opened:
            return origin_of(opened.read(MAX_BYTES + 1), file, name)
    except OSError:
        return ""  # loading the file will report the reason


def _asked(origin: str, store: Store, where: Where) -> str:
    """A digest of an apply's input, except for the state of the host."""
    told = (origin, where.state, where.run, applying_user(), __version__, _program(), *store.contents())
    return digest(repr(told).encode(errors="surrogateescape")).hex()


def _program() -> tuple[int, int, int]:
    """netfab itself, since another version may plan differently: number, sizes and times of its files."""
    try:
        files = [file.stat() for file in _files(os.path.dirname(os.path.dirname(__file__)))]
    except OSError:  # unreadable, or in an archive: such a seal equals no other
        return 0, os.getpid(), monotonic_ns()
    return len(files), sum(file.st_size for file in files), sum(file.st_mtime_ns for file in files)


def _files(directory: str) -> Iterator[os.DirEntry[str]]:
    for entry in os.scandir(directory):
        if entry.name.endswith(".py"):
            yield entry
        elif entry.is_dir() and entry.name != "__pycache__":
            yield from _files(entry.path)
