"""A client of etcd's v3 gateway: JSON over HTTP, with only the standard library; etcd 3.4 or newer.

What is stored there is shared.py's business. All reads are linearizable. A silent member may have
executed the request, which is then sent to the next one: so every write is a transaction with a
precondition, and its author can recognize its own work.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from time import monotonic
from typing import Any

from netfab.errors import StoreError, StoreUnreachable
from netfab.store.etcd_wire import NO_TOKEN, Refused, Wire, reason_of
from netfab.store.store import NO_SENSE
from netfab.system.rest import rest
from netfab.topology.schema import Etcd
from netfab.tuples import NamedTuple

PATIENCE = 15.0  # seconds; a cluster that lost its leader elects another sooner
ATTEMPT = 5.0  # seconds for one member
PAUSE = 0.1  # seconds before all members are tried again: none notifies us of a leader
Json = dict[str, Any]


class Found(NamedTuple):
    """A key, and the store revisions at which it was created and last written."""

    key: str
    value: str
    created: int
    modified: int


class Reply(NamedTuple):
    """Whether the precondition held; the revision; what the executed branch has read."""

    done: bool
    revision: int
    found: tuple[Found, ...]


class Client:
    """A client of an etcd cluster, using one member at a time. Every method raises StoreError."""

    def __init__(self, at: Etcd) -> None:
        self.at = at
        self._wires = [Wire(endpoint, at) for endpoint in at.endpoints]
        self._token = ""

    def close(self) -> None:
        """Close the connections."""
        for wire in self._wires:
            wire.close()

    def transact(self, given: Iterable[Json], then: Iterable[Json], otherwise: Iterable[Json] = ()) -> Reply:
        """Execute `then` if all of `given` holds, else `otherwise`, atomically."""
        words = {"compare": list(given), "success": list(then), "failure": list(otherwise)}
        said = self._call("kv/txn", words)
        try:
            return Reply(
                bool(said.get("succeeded", False)), int(said["header"]["revision"]), tuple(_found(said))
            )
        except NO_SENSE as error:
            raise StoreError(f"{self.at} gives an invalid answer: {error!r}") from error

    def grant(self, lease: int, seconds: int) -> None:
        """Create a lease with that ID; keys put under it are deleted when it ends."""
        try:
            self._call("lease/grant", {"ID": lease, "TTL": seconds})
        except Refused as refused:
            if "already exists" not in refused.reason:  # else it is ours: the first answer was lost
                raise

    def renew(self, lease: int, patience: float) -> None:
        """Renew the lease, if it still exists."""
        self._call("lease/keepalive", {"ID": lease}, patience)

    def revoke(self, lease: int) -> None:
        """End the lease, and delete the keys under it."""
        self._call("lease/revoke", {"ID": lease})

    def _call(self, verb: str, words: Json, patience: float = 0) -> Json:
        """The answer of the first member that gives one."""
        patience = patience or PATIENCE
        end = monotonic() + patience
        while True:
            failures: dict[str, str] = {}
            hopeful = False
            for wire in tuple(self._wires):
                try:
                    return self._ask(wire, verb, words, min(ATTEMPT, patience))
                except Refused as refused:
                    if not refused.again:
                        raise
                    failures[wire.endpoint], hopeful = refused.reason, True
                except OSError as error:
                    failures[wire.endpoint] = reason_of(error)
                    hopeful = hopeful or _may_pass(error)
                self._wires = [*self._wires[1:], wire]  # from now on the others are tried before it
            if not hopeful or monotonic() > end:
                raise _unreachable(failures)
            rest(PAUSE)

    def _ask(self, wire: Wire, verb: str, words: Json, seconds: float) -> Json:
        if not self.at.user:
            return wire.ask(verb, words, seconds)
        if self._token:
            try:
                return wire.ask(verb, words, seconds, self._token)
            except Refused as refused:
                if refused.code != NO_TOKEN:  # this is how an expired token is refused
                    raise
        said = wire.ask("auth/authenticate", {"name": self.at.user, "password": _password(self.at)}, seconds)
        self._token = str(said.get("token", ""))
        return wire.ask(verb, words, seconds, self._token)


def _may_pass(error: OSError) -> bool:
    """Whether it may be temporary: a silent member, or one that hung up, as when it loses its leader."""
    ended = isinstance(error, ConnectionError) and not isinstance(error, ConnectionRefusedError)
    return ended or isinstance(error, TimeoutError)


def _password(at: Etcd) -> str:
    try:
        with open(at.password_file, encoding="utf-8") as file:
            return file.read().rstrip("\n")
    except (OSError, UnicodeError) as error:
        raise StoreError(f"the password of {at}: {error}") from error


def _unreachable(failures: Mapping[str, str]) -> StoreUnreachable:
    told = "; ".join(f"{endpoint}: {reason}" for endpoint, reason in failures.items())
    return StoreUnreachable(
        f"the store can't be reached: {told}",
        hint="more than half of the members of etcd have to run, and to reach each other",
    )


def _found(said: Json) -> Iterator[Found]:
    for answer in said.get("responses", ()):
        for each in answer.get("response_range", {}).get("kvs", ()):
            yield Found(
                b64decode(each["key"]).decode(),
                b64decode(each.get("value", "")).decode(),
                int(each["create_revision"]),
                int(each["mod_revision"]),
            )


def read(key: str) -> Json:
    """Read that key."""
    return {"request_range": {"key": _bytes(key)}}


def read_below(prefix: str) -> Json:
    """Read all keys with that prefix."""
    return {"request_range": {"key": _bytes(prefix), "range_end": _bytes(_after(prefix))}}


def put(key: str, value: str, lease: int = 0) -> Json:
    """Write it; under a lease, if one is given."""
    return {"request_put": {"key": _bytes(key), "value": _bytes(value), "lease": lease}}


def delete(key: str) -> Json:
    """Remove it."""
    return {"request_delete_range": {"key": _bytes(key)}}


def created_at(key: str, revision: int) -> Json:
    """Condition: the key was created at that revision; 0: it does not exist."""
    return {"key": _bytes(key), "target": "CREATE", "result": "EQUAL", "create_revision": revision}


def written_at(key: str, revision: int) -> Json:
    """Condition: the key was last written at that revision; 0: it does not exist."""
    return {"key": _bytes(key), "target": "MOD", "result": "EQUAL", "mod_revision": revision}


def nothing_written_below(prefix: str, since: int) -> Json:
    """Condition: no key with that prefix was written after that revision; some may have been deleted."""
    return {
        "key": _bytes(prefix),
        "range_end": _bytes(_after(prefix)),
        "target": "MOD",
        "result": "LESS",
        "mod_revision": since + 1,
    }


def _after(prefix: str) -> str:
    """The first key after all that have that prefix."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


def _bytes(text: str) -> str:
    return b64encode(text.encode()).decode()
