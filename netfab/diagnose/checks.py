"""`netfab check`: the sentences of a file's `checks`, tried from inside the nodes of the fabric. Only reads.

What is tried is diagnose/trials.py's, how is kernel/echo.py's and kernel/attempts.py's. On other hosts their
agents try what begins there.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from typing import Any

from netfab.diagnose.trials import SILENT, Address, Trial, Verdict, names_in
from netfab.errors import NetfabError
from netfab.kernel.attempts import connection, datagram
from netfab.kernel.echo import answering, hops
from netfab.nodes.by_name import THE_HOST, opened_namespace
from netfab.system import linux
from netfab.system.rest import rest
from netfab.tuples import NamedTuple
from netfab.where import HERE, Where, known_record, need_root, read_store

_AT_ONCE = 32  # attempts, most of which just wait
# Seconds between two tries of a check with `within`: there is no event when something begins to answer.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.25


class _Node(NamedTuple):
    """A node's namespace, or the host's."""

    netns: int
    names: Mapping[str, tuple[str, ...]]  # from its hosts file


class _Answer(NamedTuple):
    """Who answered, or why there was no answer."""

    address: Address | None
    reason: str = ""


def tried(fabric: str, trials: Sequence[Trial], where: Where = HERE) -> list[Verdict]:
    """The verdict on each, for a fabric on this host. Raises NetfabError if it does not exist."""
    need_root("check")
    with read_store(where) as store:
        nodes = json.loads(known_record(store, fabric, where).summary)["nodes"]
    inside: dict[str, _Node] = {}
    gone: dict[str, str] = {}  # the reasons
    with ExitStack() as stack, ThreadPoolExecutor(_AT_ONCE) as threads:
        for name in {end for trial in trials for end in (trial.source, trial.receiver) if end}:
            try:
                inside[name] = stack.enter_context(_opened(fabric, name, nodes.get(name), where))
            except NetfabError as error:
                gone[name] = error.message
        found = {
            trial: Verdict(trial.sentence, False, gone.get(trial.source) or gone[trial.receiver], 0.0)
            for trial in trials
            if {trial.source, trial.receiver} & gone.keys()
        }
        jobs = [
            threads.submit(_judged, several, inside)
            for several in _together(trial for trial in trials if trial not in found)
        ]
        found |= {trial: verdict for job in jobs for trial, verdict in job.result()}
    return [found[trial] for trial in trials]


@contextmanager
def _opened(fabric: str, name: str, node: Mapping[str, Any] | None, where: Where) -> Iterator[_Node]:
    """A node, or, without one, the host."""
    netns = opened_namespace(fabric, name, node or THE_HOST, where)
    try:
        names = {}
        if node is not None and node["hosts"]:
            with open(node["hosts"], encoding="utf-8", errors="replace") as file:
                names = names_in(file.read())
        yield _Node(netns, names)
    except FileNotFoundError as error:
        raise NetfabError(f"the hosts file of {name} is gone", hint=f"netfab reconcile {fabric}") from error
    finally:
        os.close(netns)


def _together(trials: Iterable[Trial]) -> list[list[Trial]]:
    """Echoes of one node are sent together; everything else is tried separately."""
    alone: list[list[Trial]] = []
    echoes: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.protocol == "icmp" and not trial.via and not trial.within:
            echoes.setdefault(trial.source, []).append(trial)
        else:
            alone.append([trial])
    return [*echoes.values(), *alone]


def _judged(trials: Sequence[Trial], inside: Mapping[str, _Node]) -> list[tuple[Trial, Verdict]]:
    """Runs in a thread of its own, which stays in the source's namespace."""
    source = inside[trials[0].source]
    linux.setns(source.netns, linux.CLONE_NEWNET)
    targets = {trial: _addresses(trial, source) for trial in trials}
    if len(trials) > 1:
        asked = {address for addresses in targets.values() for address in addresses}
        begun, answered = time.monotonic(), answering(asked, SILENT)
        judged = []
        for trial in trials:
            first = next((each for each in targets[trial] if each in answered), None)
            seconds = answered[first] if first else time.monotonic() - begun
            judged.append((trial, _verdict(trial, _Answer(first, _silence(targets[trial])), seconds)))
        return judged
    (trial,) = trials
    receiver = inside[trial.receiver].netns if trial.receiver else None
    return [(trial, _until_it_holds(trial, targets[trial], receiver))]


def _addresses(trial: Trial, source: _Node) -> tuple[Address, ...]:
    """The addresses a program in the source would use: by its hosts file; to be unreachable, all must be."""
    names = source.names.get(trial.target, ()) if trial.reaches else ()
    return tuple(map(ip_address, names or trial.addresses))


def _until_it_holds(trial: Trial, addresses: Sequence[Address], receiver: int | None) -> Verdict:
    begun, seconds = time.monotonic(), _FIRST_PAUSE
    while True:
        answer = _attempt(trial, addresses, receiver)
        verdict = _verdict(trial, answer, time.monotonic() - begun)
        if verdict.holds or time.monotonic() - begun >= trial.within:
            return verdict
        rest(seconds)
        seconds = min(2 * seconds, _LONGEST_PAUSE)


def _verdict(trial: Trial, answer: _Answer, seconds: float) -> Verdict:
    holds = (answer.address is not None) == trial.reaches
    reason = "" if holds else answer.reason if trial.reaches else f"{answer.address} answered"
    return Verdict(trial.sentence, holds, reason, seconds)


def _attempt(trial: Trial, addresses: Sequence[Address], receiver: int | None) -> _Answer:
    """The first address that answers as expected; else who refused it, or why the first did not answer."""
    if not addresses:
        return _Answer(None, f"{trial.target} has no address")
    answers = []
    for address in addresses:
        if trial.protocol == "tcp":
            reason = connection(address, trial.port, SILENT)
        elif trial.protocol == "udp":
            reason = datagram(address, trial.port, SILENT, receiver)
        else:
            reason = "" if answering([address], SILENT) else _silence([address])
        if not reason and trial.via:
            reason = _other_way(address, trial.via)
        if not reason:
            return _Answer(address)
        answers.append(reason)
    return _Answer(None, next((reason for reason in answers if "refused" in reason), answers[0]))


def _other_way(address: Address, via: Iterable[str]) -> str:
    """Why the way to an address leads through none of those."""
    way = hops(address, SILENT)
    if set(map(ip_address, via)) & set(way[:-1]):
        return ""
    if not way:
        return _silence([address])
    told = ", ".join("?" if each is None else str(each) for each in way[:-1])
    return f"{address} is reached by way of {told}" if told else f"{address} is reached directly"


def _silence(addresses: Iterable[Address]) -> str:
    return f"{', '.join(map(str, addresses)) or 'no address'} did not answer within {SILENT:g} s"
