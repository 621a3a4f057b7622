"""`netfab run`, `rm`, `prune`: containers of the host's default fabric, planned and applied like any other's.

Requests are stored as leases, claimed before the first change as all leases are. That a container exists
is the fabric's business; whether it runs is that of `start` and `stop`, as for every node.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

from netfab import fabric
from netfab.engine.diff import Change
from netfab.errors import NetfabError, UndoFailed, each_of, raise_rest
from netfab.facts.shared_bridges import networks_of
from netfab.hosts.lock import locked
from netfab.nodes import lifecycle
from netfab.nodes.by_name import NoSuchNode, node_of
from netfab.runtime.paths import Paths
from netfab.runtime.status import status
from netfab.topology import grammar
from netfab.topology.default import NAME, OWN, Wanted, topology_of
from netfab.where import HERE, Where, kept_of, need_root, opened_book, opened_store, read_store, whole_record

_ADJECTIVES = (
    "amber", "bold", "brisk", "calm", "clear", "crisp", "deft", "eager", "fair", "fleet", "fond", "glad",
    "keen", "kind", "lively", "lucid", "mild", "neat", "nimble", "proud", "quick", "quiet", "sharp", "sunny",
)  # fmt: skip
_ANIMALS = (
    "badger", "bee", "crane", "deer", "eagle", "finch", "fox", "gull", "hare", "heron", "ibex", "jay", "lark",
    "lynx", "mole", "otter", "owl", "pike", "raven", "seal", "stork", "swan", "tern", "wren",
)  # fmt: skip
_PATIENCE = 3600.0  # seconds: hundreds may have ended at the same time, and are removed one by one
_ALWAYS = ("always", "unless-stopped")  # restart policies that also apply at boot

Asked = dict[str, Wanted]


def run(wanted: Wanted, where: Where = HERE, made: Callable[[str], object] = str) -> str:
    """Create a container and start its program; returns its name. On failure nothing is left of it.

    Without a name it gets one. `made` gets it before the start. Raises NetfabError; ContainerFailed if
    the program can't be run.
    """
    need_root("run")
    with _alone(where):
        asked = _asked_for(where)
        name = _checked(wanted.name, asked) if wanted.name else _new_name(asked)
        last = max((one.number for one in asked.values()), default=0)
        _apply({**asked, name: wanted._replace(name=name, number=last + 1)}, where)
        try:
            made(name)
            lifecycle.start([f"{NAME}/{name}"], where)
        except BaseException as failure:
            try:
                _apply(asked, where)
            except NetfabError as second:
                told = f"{failure or type(failure).__name__}; and removing {name} failed: {second}"
                raise UndoFailed(told, hint=f"netfab rm -f {name}") from failure
            if isinstance(failure, NetfabError):
                failure.undone = True
            raise
    return name


def network(word: str, where: Where = HERE) -> str:
    """FABRIC/NETWORK, looked up by that, by network or by bridge. Raises NetfabError."""
    if word in (OWN, NAME):
        return OWN
    there = _networks(where)
    found = [name for name, bridge in there.items() if word in (name, name.partition("/")[2], bridge)]
    if len(found) == 1:
        return found[0]
    if found:
        raise NetfabError(f"{word} is a network of several fabrics", hint=f"name one: {', '.join(found)}")
    if away := _hosts_that_have(word, where):
        raise NetfabError(
            f"the network {word} is on {', '.join(away)}, and not on this host",
            hint="run it on one of these hosts",
        )
    known = ", ".join((OWN, *there))
    raise NetfabError(
        f"there is no network {word}",
        hint=f"there are {known}; also host, none and container:NAME; `netfab bridge create` makes one",
    )


def _hosts_that_have(word: str, where: Where) -> list[str]:
    """Other hosts on which this controller made the network."""
    return [
        host
        for entry in opened_book(where).entries()
        for name, found in entry.summary["networks"].items()
        if word in (name, f"{entry.name}/{name}", found["bridge"])
        for host in found.get("hosts", entry.hosts)
    ]


def remove(nodes: Iterable[str], where: Where = HERE, force: bool = False) -> list[str]:
    """Remove these containers; returns those that existed.

    `force`: also running ones, and a missing one is only reported. Raises NetfabError, for those
    that stay; NotAll if others were removed.
    """
    need_root("rm")
    with _alone(where):
        asked = _asked_for(where)
        found = status(_paths(where))
        words, errors = dict[str, str](), list[NetfabError]()
        for node in nodes:
            try:
                name = _own(node, asked, where)
            except NetfabError as error:
                if force and isinstance(error, NoSuchNode):
                    where.say(error.message)
                else:
                    errors.append(error)
                continue
            if not force and name in found and found[name].pid:
                errors.append(NetfabError(f"{name} runs", hint=f"netfab stop {name}, or rm -f"))
            else:
                words[name] = node
        while needed := list(_still_needed(words, asked)):
            errors += (error for _, error in needed)
            for name, _ in needed:
                del words[name]
        if force:
            lifecycle.stop([f"{NAME}/{name}" for name in words if name in found], where, timeout=0)
        if words:
            _apply({name: one for name, one in asked.items() if name not in words}, where)
        raise_rest(errors, words.values())
        return list(words.values())


def prune(where: Where = HERE) -> list[str]:
    """Remove all containers that don't run, unless others share their network; returns their names."""
    need_root("prune")
    with _alone(where):
        asked, found = _asked_for(where), status(_paths(where))
        idle = [name for name in asked if name not in found or found[name].over]
        while needed := {name for name in idle if _sharing(name, asked, idle)}:
            idle = [name for name in idle if name not in needed]
        if idle:
            _apply({name: one for name, one in asked.items() if name not in idle}, where)
        return idle


def reconcile(where: Where = HERE) -> tuple[Change, ...]:
    """Repair what others changed; after a reboot, also start containers by their restart policies."""
    need_root("reconcile")
    with _alone(where):
        asked, before = _asked_for(where), status(_paths(where))
        with opened_store(where) as store:
            last = kept_of(store, NAME)
        changes = last.shown(_apply(asked, where))
        policies = {name: str(one.keys.get("restart", "no")) for name, one in asked.items()}
        lost = [name for name in asked if name not in before and policies[name] in _ALWAYS]
        lifecycle.start([f"{NAME}/{name}" for name in lost], where)
        return changes


def drift(where: Where = HERE) -> tuple[Change, ...]:
    """What `reconcile` would change. Raises NetfabError if there is nothing, or a command was killed."""
    need_root("drift")
    with read_store(where) as store:
        whole_record(store, NAME, where)
        last = kept_of(store, NAME)
    topology = topology_of(_asked_for(where).values(), _networks(where))
    return last.shown(fabric.plan(topology, "", where).changes)


def titles(where: Where = HERE) -> dict[str, str]:
    """The image name of each container, as it was given."""
    return {name: one.title for name, one in _asked_for(where).items()}


def main(run_directory: str, state: str, name: str) -> None:
    """Remove a container of `run --rm`; the supervisor starts this when it has ended."""
    sys.argv[1:] = ["rm", name]  # shown to commands that wait for our lock
    where = Where(state, run_directory, lock_timeout=_PATIENCE)
    with suppress(NetfabError):  # removed already
        remove([f"{NAME}/{name}"], where)


@contextmanager
def _alone(where: Where) -> Iterator[None]:
    """A lock: one command at a time reads the requests and applies them with its own change."""
    with locked(f"{where.run}/{NAME}.containers.lock", where.lock_timeout, where.waiting):
        yield


def _asked_for(where: Where) -> Asked:
    """All requests, in the order of their creation."""
    with opened_store(where) as store:
        kept = (lease.value for lease in store.leases(NAME) if lease.kind == "container")
        return {one.name: one for one in sorted(map(Wanted.from_json, kept), key=lambda one: one.number)}


def _networks(where: Where) -> dict[str, str]:
    """FABRIC/NETWORK of every other fabric -> its bridge."""
    with opened_store(where) as store:
        return {
            f"{name}/{one}": chosen["bridge"]
            for name, networks in networks_of(store).items()
            if name != NAME
            for one, chosen in networks.items()
        }


def _apply(asked: Asked, where: Where) -> tuple[Change, ...]:
    """Apply exactly these containers; with the last one, what they shared is removed, too."""
    if not asked:
        return fabric.destroy(NAME, where).changes
    topology = topology_of(asked.values(), _networks(where))
    try:
        return fabric.apply(topology, "", where)[1].changes
    except NetfabError as error:
        for each in each_of(error):
            each.at = each.at if each.at and each.at.file else None
        raise


def _checked(name: str, asked: Mapping[str, Wanted]) -> str:
    try:
        grammar.node_name(name)
    except grammar.Wrong as wrong:
        raise NetfabError(str(wrong)) from wrong
    if name in asked:
        raise NetfabError(f"there is a container {name} already", hint=f"netfab rm {name}, or another --name")
    return name


def _new_name(asked: Mapping[str, Wanted]) -> str:
    while True:
        one, other, number = os.urandom(3)
        name = f"{_ADJECTIVES[one % len(_ADJECTIVES)]}-{_ANIMALS[other % len(_ANIMALS)]}"
        if len(asked) > len(_ANIMALS):
            name = f"{name}-{number}"
        if name not in asked:
            return name


def _own(node: str, asked: Asked, where: Where) -> str:
    """The name of the container that is meant. Raises NetfabError, also for nodes of files."""
    short = node.removeprefix(f"{NAME}/")
    if short in asked:
        return short
    record, name, _ = node_of(node, where)
    raise NetfabError(
        f"{name} is a node of fabric {record.name}, and `netfab run` did not make it",
        hint=f"take it out of {record.file} and apply that, or netfab destroy {record.name}",
    )


def _sharing(name: str, asked: Mapping[str, Wanted], besides: Iterable[str]) -> list[str]:
    """Remaining containers that share that container's network."""
    going = set(besides)
    return [
        one.name
        for one in asked.values()
        if one.keys.get("mode") == f"container:{name}" and one.name not in going
    ]


def _still_needed(names: Collection[str], asked: Mapping[str, Wanted]) -> Iterator[tuple[str, NetfabError]]:
    """Errors for containers whose network is shared by others that stay."""
    for name in names:
        if others := _sharing(name, asked, names):
            yield name, NetfabError(f"{', '.join(others)} has the network of {name}", hint="rm both")


def _paths(where: Where) -> Paths:
    return Paths(NAME, where.run, where.state)
