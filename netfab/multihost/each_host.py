"""The part of the API that each host of a fabric answers for itself: status, drift, reconcile, destroy, ...

across.py re-exports it. Here the hosts' answers are merged, each with its host's name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from netfab.diagnose.trials import Trial, Verdict
from netfab.errors import NetfabError, NotReached, StoreError
from netfab.objects.decode import plain
from netfab.remote import answers
from netfab.remote.answers import Changes
from netfab.remote.meeting import greeted, tell_what_was_decided
from netfab.remote.messages import understood
from netfab.remote.party import Connect, connect, party, unreachable
from netfab.remote.party import answers as answered
from netfab.store.book import Book, Entry
from netfab.topology.kept import whole_text
from netfab.where import HERE, Where, locked_book, opened_book, store_of

if TYPE_CHECKING:
    from netfab.store.shared import SharedBook

T = TypeVar("T")


def _on_each(
    function: str,
    entry: Entry,
    where: Where,
    way: Connect,
    how: Callable[[Any], T],
) -> dict[str, T]:
    """What a function returns on each host that is reached, once missed commits were sent."""
    refuse_home(entry, entry.hosts)
    with party(entry.hosts, where, way) as together:
        heard = greeted(together, entry.name, skip_unreachable=True)
        tell_what_was_decided(together, entry.name, heard)
        return answers.read_all(together.call(function, {"fabric": entry.name}), how)


def _whole(entry: Entry, said: Collection[str], found: T) -> T:
    """The result, if all hosts answered. Otherwise raises NotReached, with the result."""
    if away := sorted(entry.hosts.keys() - {*said}):
        raise NotReached(entry.name, away, found)
    return found


def drift(entry: Entry, where: Where = HERE, *, way: Connect = connect) -> Changes:
    """What others changed on any host since the last apply. Raises NotReached, with what is known."""
    said = _on_each("drift", entry, where, way, answers.changes)
    return _whole(entry, said, with_hosts(said))


def reconcile(entry: Entry, where: Where = HERE, *, way: Connect = connect) -> Changes:
    """Repair what others changed; each host by itself, from what it has in its own store.

    Raises NotReached, with what was repaired on the others.
    """
    said = _on_each("reconcile", entry, where, way, answers.changes)
    return _whole(entry, said, with_hosts(said))


def with_hosts(found: Mapping[str, Iterable[Mapping[str, Any]]]) -> Changes:
    """The changes of several hosts, each with its `host`."""
    return [{**one, "host": host} for host, several in found.items() for one in several]


def destroy(
    entry: Entry,
    where: Where = HERE,
    *,
    force: bool = False,
    skip_unreachable: bool = False,
    forget: Collection[str] = (),
    way: Connect = connect,
) -> tuple[Changes, tuple[str, ...]]:
    """Remove the fabric from all hosts; returns the changes, and the hosts that were forgotten unreached.

    Other unreached hosts stay in the book.
    Changes nothing if a host that is not to be skipped is unreachable; hosts in `forget` are removed from
    the book, reached or not. A lost store does not prevent this; StoreError then says what is still
    held there.
    """
    with ExitStack() as stack:
        copy, lost = opened_book(where), None
        book: Book | SharedBook = copy
        try:
            book = stack.enter_context(locked_book(entry.name, store_of(entry), where))
            entry = book.entry(entry.name) or entry
        except StoreError as error:
            lost = error
        refuse_home(entry, entry.hosts)
        refuse_unknown(entry, forget)
        with party(entry.hosts, where, way, book.keep_alive) as together:
            greeted(together, entry.name, {}, skip_unreachable, entry.hosts, forget)
            said = together.call("destroy", {"fabric": entry.name, "force": force})
            found = answers.read_all(said, answers.changes)
        gone = {*found, *forget}
        left = entry._replace(hosts={host: ssh for host, ssh in entry.hosts.items() if host not in gone})
        lost = lost or _forgotten(left, book)
        if lost is not None:
            with suppress(StoreError):
                copy.keep(left)
            raise _still_held(left, lost) from lost
    return with_hosts(found), tuple(dict.fromkeys(host for host in forget if host not in found))


def refuse_unknown(entry: Entry, hosts: Iterable[str]) -> None:
    """Raises NetfabError if the fabric is not on one of these hosts."""
    for host in hosts:
        if host not in entry.hosts:
            raise NetfabError(
                f"fabric {entry.name} is on no host {host}", hint=f"it is on {', '.join(entry.hosts)}"
            )


def _forgotten(left: Entry, book: Book | SharedBook) -> StoreError | None:
    """Keep only the remaining hosts in the book, or no entry if there are none; returns the error, if any."""
    try:
        book.keep(left) if left.hosts else book.forget(left.name)
    except StoreError as error:
        return error
    return None


def _still_held(left: Entry, lost: StoreError) -> StoreError:
    held = sorted(lease for lease in left.leases if lease.kind in ("subnet", "vni"))
    told = ", ".join(f"VNI {lease.value}" if lease.kind == "vni" else lease.value for lease in held)
    return StoreError(
        f"fabric {left.name} is gone from its hosts, but not from the store: {lost.message}",
        hint=f"`netfab destroy {left.name}` again, when it can be told, frees {told or 'its name'}",
    )


def refuse_home(entry: Entry, hosts: Mapping[str, str]) -> None:
    """Raises NetfabError if a host was another controller's own machine, but now would be this one."""
    here = os.uname().nodename
    near = [host for host, ssh in entry.hosts.items() if not ssh and not hosts.get(host)]
    if entry.store and near and entry.home != here:
        raise NetfabError(
            f"{near[0]}, a host of fabric {entry.name}, is {entry.home} itself, and this machine is {here}",
            hint=f"do it there, or write how {near[0]} is reached from anywhere: `ssh: root@ADDRESS`",
        )


def status(entry: Entry, where: Where = HERE, *, way: Connect = connect) -> dict[str, Any]:
    """A fabric's status, as `status -o json` prints it; each node has its `host`.

    `unreachable`: hosts of which only the plan is known, as long as another host is reached.
    """
    together: dict[str, Any] = {
        "version": 1,
        "fabric": entry.name,
        "file": entry.file,
        "user": entry.user,
        "hosts": dict(entry.hosts),
        "networks": {},
        "nodes": {},
        "links": [],
        "differs": 0,
        "unreachable": [],
    }
    refuse_home(entry, entry.hosts)
    with party(entry.hosts, where, way) as all_hosts:
        heard = greeted(all_hosts, entry.name, skip_unreachable=True)
        tell_what_was_decided(all_hosts, entry.name, heard)
        said = answers.read_all(all_hosts.call("status", {"fabric": entry.name}), answers.status)
    for host in sorted(entry.hosts.keys() - heard.keys()):
        together["unreachable"].append(host)
        together["nodes"] |= {
            name: {**node, "state": "unknown", "ready": None, "pid": None}
            for name, node in entry.summary["nodes"].items()
            if node["host"] == host
        }
    for host, found in said.items():
        together["networks"] |= found["networks"]
        together["nodes"] |= {name: {**node, "host": host} for name, node in found["nodes"].items()}
        together["links"] += [link for link in found["links"] if link not in together["links"]]
        together["differs"] += found["differs"]
    rank = {name: number for number, name in enumerate(entry.summary["nodes"])}
    together["nodes"] = dict(sorted(together["nodes"].items(), key=lambda item: rank.get(item[0], len(rank))))
    return together


def programs(entry: Entry, where: Where = HERE, *, way: Connect = connect) -> list[dict[str, Any]]:
    """Every program of the fabric, as `ps -o json` prints it, with its host.

    Raises NotReached, with the programs of the hosts that were reached.
    """
    said = _on_each("programs", entry, where, way, answers.programs)
    return _whole(
        entry,
        said,
        [{**one, "host": host} for host, ran in said.items() for one in ran if one["fabric"] == entry.name],
    )


def tried(
    entry: Entry, trials: Sequence[Trial], where: Where = HERE, *, way: Connect = connect
) -> list[Verdict]:
    """The result of each, tried on the host of its source; trials from `host`, on every host.

    Raises NotReached, with the results of reached hosts; trials that start on others did not run.
    """
    nodes = entry.summary["nodes"]
    begins = {host: [each for each in trials if _begins_on(each, host, nodes)] for host in entry.hosts}
    found: dict[Trial, Verdict] = {}
    with party({host: entry.hosts[host] for host in entry.hosts if begins[host]}, where, way) as together:
        said = together.ask(
            {
                host: {"verb": "call", "function": "tried", "arguments": _asked(entry, host, begins[host])}
                for host in together.channels
            }
        )
    away = unreachable(said)
    there = {host: answer for host, answer in said.items() if host not in away} or said
    tries = answers.read_all(answered(there), lambda answer: answers.verdicts(answer["value"]))
    for host in away:
        why = f"not tried: {host} is not reached"
        tries[host] = [Verdict(trial.sentence, None, why, 0.0) for trial in begins[host]]
    for host, several in tries.items():
        with understood(host):
            for trial, verdict in zip(begins[host], several, strict=True):
                if trial not in found or (found[trial].holds and not verdict.holds):
                    found[trial] = verdict
    verdicts = [found[trial] for trial in trials]
    if away:
        raise NotReached(entry.name, sorted(away), verdicts)
    return verdicts


def _begins_on(trial: Trial, host: str, nodes: Mapping[str, Any]) -> bool:
    return trial.source not in nodes or nodes[trial.source]["host"] == host


def _asked(entry: Entry, host: str, trials: Iterable[Trial]) -> dict[str, Any]:
    """The arguments of `tried`; a target on another host can't be inspected from this one."""
    nodes = entry.summary["nodes"]
    here = {name for name, node in nodes.items() if node["host"] == host}
    told = [each if each.receiver in here else each._replace(receiver="") for each in trials]
    return {"fabric": entry.name, "trials": plain(told)}


def topology_of(entry: Entry) -> str:
    """The stored text of the file that the fabric was last applied from. Raises NetfabError."""
    if not entry.topology:
        raise NetfabError(
            f"what the file of fabric {entry.name} said is not known: its last apply did not finish",
            hint=f"`netfab config {entry.file}` prints what is in it now",
        )
    return whole_text(entry.topology, entry.file, entry.name)
