"""From the sentences of `checks` to what is tried where, and from what came of it to a verdict; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from netfab.errors import NetfabError, raise_all
from netfab.topology.checks import HOST, INTERNET, check_text, is_address
from netfab.topology.grammar import quoted
from netfab.topology.schema import Check
from netfab.topology.suggest import did_you_mean
from netfab.tuples import NamedTuple

Address = IPv4Address | IPv6Address
SILENT = 1.0  # seconds without an answer until a target counts as not reached
PUBLIC = ("1.1.1.1", "8.8.8.8", "9.9.9.9", "2606:4700:4700::1111")  # public resolvers that answer echoes


class Trial(NamedTuple):
    """What is tried from inside one node. Plain data: it is also sent to other hosts' agents."""

    sentence: str
    source: str  # a node, or `host`
    target: str  # resolved by the source's hosts file, if it is in that
    addresses: tuple[str, ...]  # otherwise these
    receiver: str  # the node that has them, or ""
    reaches: bool
    protocol: str
    port: int
    via: tuple[str, ...]  # the addresses of the node that the way must lead through
    within: float  # seconds in which it must begin to hold; 0: one try


class Verdict(NamedTuple):
    """The result of a trial. `reason`: why it failed, or was not tried, or ""."""

    sentence: str
    holds: bool | None  # None: it was not tried
    reason: str
    seconds: float  # until an answer, or until it was given up


def trials_of(checks: Iterable[Check], summary: Mapping[str, Any]) -> Iterator[Trial]:
    """The trials of sentences about a fabric with that summary from the store."""
    nodes = summary["nodes"]
    owners = {address: name for name in nodes for address in addresses_of(nodes[name])}
    gateways = (each for network in summary["networks"].values() for each in network["gateways"])
    outside = {HOST: tuple(each for each in gateways if each not in owners), INTERNET: PUBLIC}
    for check in checks:
        receiver = owners.get(check.target, check.target)
        if check.target in nodes:
            addresses = addresses_of(nodes[check.target])
        else:
            addresses = outside.get(check.target, (check.target,))
        yield Trial(
            check_text(check),
            owners.get(check.source, check.source),
            check.target,
            addresses,
            receiver if receiver in nodes else "",
            check.reaches,
            check.protocol,
            check.port,
            addresses_of(nodes[check.via]) if check.via else (),
            check.within or 0.0,
        )


def refuse_unknown_ends(checks: Iterable[Check], summary: Mapping[str, Any]) -> None:
    """Raises NetfabError for ends that the fabric does not have, which can't be tried.

    A file may name nodes added since the apply, and a test any.
    """
    raise_all(error for errors in untriable(checks, summary).values() for error in errors)


def untriable(checks: Iterable[Check], summary: Mapping[str, Any]) -> dict[Check, list[NetfabError]]:
    """The checks with ends that the fabric does not have, and the error for each."""
    nodes = summary["nodes"]
    addresses = {address for node in nodes.values() for address in addresses_of(node)}
    return {check: errors for check in checks if (errors := list(_unknown_ends(check, nodes, addresses)))}


def untried(check: Check, errors: Iterable[NetfabError]) -> Verdict:
    """The verdict on one that can't be tried."""
    sentence = check_text(check)
    reason = "; ".join(error.message.removeprefix(f"{quoted(sentence)}: ") for error in errors)
    return Verdict(sentence, None, reason, 0.0)


def _unknown_ends(check: Check, nodes: Mapping[str, Any], addresses: Set[str]) -> Iterator[NetfabError]:
    sentence = quoted(check_text(check))
    for end in filter(None, dict.fromkeys((check.source, check.target, check.via))):
        if not is_address(end) and end not in (*nodes, HOST, INTERNET):
            yield NetfabError(
                f"{sentence}: no node {end} was applied",
                hint=did_you_mean(end, nodes) or "what a file has got since then is there after an apply",
            )
    if is_address(check.source) and check.source not in addresses:
        yield NetfabError(f"{sentence}: no node has {check.source}, and nothing can be tried from there")


def every_pair(summary: Mapping[str, Any]) -> Iterator[Trial]:
    """Whether each node with addresses reaches each other one."""
    having = {name: addresses for name, node in summary["nodes"].items() if (addresses := addresses_of(node))}
    for source in having:
        for target, addresses in having.items():
            if source != target:
                sentence = f"{source} reaches {target}"
                yield Trial(sentence, source, target, addresses, target, True, "icmp", 0, (), 0.0)


def addresses_of(node: Mapping[str, Any]) -> tuple[str, ...]:
    """Every address of a node, as its summary has it."""
    return tuple(address for found in node["addresses"].values() for address in found)


def names_in(hosts_file: str) -> dict[str, tuple[str, ...]]:
    """The addresses of each name (hosts(5)), in the file's order; invalid lines are skipped."""
    found: dict[str, tuple[str, ...]] = {}
    for line in hosts_file.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        for name in names if _can_be_asked(address) else ():
            found[name] = (*found.get(name, ()), address)
    return found


def _can_be_asked(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
