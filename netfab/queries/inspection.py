"""One object by its name, as plain data: as desired, and for root, as it is."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from netfab.errors import NetfabError
from netfab.facts.guests import as_they_are_now
from netfab.objects.base import HOST, Fabric, Name
from netfab.objects.difference import difference
from netfab.objects.kinds import KINDS
from netfab.queries.status import status
from netfab.runtime.paths import Paths
from netfab.runtime.status import Status, status_of
from netfab.store.store import Record
from netfab.tuples import NamedTuple
from netfab.where import HERE, Where, opened_host, read_store

# Fields of a Spec that repeat the node's own.
_INTERNAL = frozenset({"fabric", "name", "netns", "hosts_file", "resolv_conf", "addresses", "hostname"})


class Match(NamedTuple):
    """A match for a name: a `node`, `network` or `interface` of a fabric."""

    record: Record
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.record.name}/{self.name}"


def inspect(what: str, where: Where = HERE) -> dict[str, Any]:
    """A fabric, FABRIC/NODE, a node, a network, an interface of the host, an image.

    Raises NetfabError if nothing has that name, or objects of several fabrics have.
    """
    with read_store(where) as store:
        known = store.records()
    if any(record.name == what for record in known):
        return status(what, where)
    matches = [match for record in known if (match := _match(record, what)) is not None]
    if not matches and (image := _image(what, where)) is not None:
        return image
    if not matches:
        hint = "`netfab ls` and `netfab status` list what there is"
        raise NetfabError(f"there is nothing called {what}", hint=hint)
    if len(matches) > 1:
        told = " and ".join(map(str, matches))
        raise NetfabError(f"{what} may be {told}", hint=f"name one: netfab inspect {matches[0]}")
    (found,) = matches
    data = {"fabric": found.record.name, "kind": found.kind, "name": found.name}
    return data | {"node": _node, "network": _network, "interface": _interface}[found.kind](found, where)


def _image(what: str, where: Where) -> dict[str, Any] | None:
    """An image of this host, for root."""
    if os.geteuid() != 0:
        return None
    from netfab.images.naming import described

    found = described(where, what)
    return None if found is None else {"kind": "image", **found}


def _match(record: Record, what: str) -> Match | None:
    """The fabric's first match for that name: nodes before networks before links."""
    fabric, _, short = what.rpartition("/")
    if fabric in ("", record.name):
        summary = json.loads(record.summary)
        for kind in ("node", "network"):
            if short in summary[f"{kind}s"]:
                return Match(record, kind, short)
        if next(_links(record, short), None) is not None:
            return Match(record, "interface", short)
    return None


def _links(record: Record, name: str) -> Iterator[Any]:
    """The fabric's objects with that interface of the host."""
    things = Fabric.from_json(record.desired, KINDS).values()
    return (thing for thing in things if Name(HOST, name) in thing.names)


def _node(found: Match, where: Where) -> dict[str, Any]:
    node: dict[str, Any] = status(found.record.name, where)["nodes"][found.name]
    paths = Paths(found.record.name, where.run, where.state)
    program = None if os.geteuid() else status_of(paths, found.name)
    return node | ({"program": _program(program)} if program else {})


def _program(one: Status) -> dict[str, Any]:
    """The status of a node's program, and what it was started with."""
    fared: dict[str, Any] = {
        "state": one.state,
        "pid": one.pid or None,
        "exit_code": one.exit_code,
        "oom": one.oom,
        "error": one.error,
        "restarts": one.restarts,
        "started": _time(one.started),
        "ended": _time(one.ended),
    }
    asked = {key: value for key, value in one.spec._asdict().items() if key not in _INTERNAL}
    plain: dict[str, Any] = json.loads(json.dumps(asked))  # tuples become lists, for every output format
    return fared | plain


def _time(seconds: float) -> str | None:
    """A time in RFC 3339 format."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds") if seconds else None


def _network(found: Match, where: Where) -> dict[str, Any]:
    network: dict[str, Any] = json.loads(found.record.summary)["networks"][found.name]
    with opened_host(found.record.name, where) as host:
        there = host.bridges().get(network["bridge"])
    return network | {"is": there and {"addresses": there["addresses"], "ports": there["ports"]}}


def _interface(found: Match, where: Where) -> dict[str, Any]:
    wanted = next(_links(found.record, found.name))
    data = {"object": type(wanted).__name__.lower(), "wanted": _plain(wanted)}
    if os.geteuid() != 0:
        return data
    whole = as_they_are_now(Fabric.from_json(found.record.desired, KINDS), where)
    with opened_host(found.record.name, where) as host:
        there = host.observe(found.record.name, (whole,)).own.get(wanted.names[0])
    if there is None:
        return data | {"is": None, "differs": "it is not there"}
    return data | {"is": _plain(there), "differs": difference(there, wanted)}


def _plain(thing: Any) -> Any:
    """An object's fields as JSON data."""
    return json.loads(json.dumps(thing._asdict(), default=str))
