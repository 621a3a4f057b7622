"""The sentences of `checks`: `web reaches db on tcp/5432 via r within 2s`, `a does not reach b`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from netfab.errors import Location, TopologyError
from netfab.topology import grammar
from netfab.topology.addresses import address
from netfab.topology.grammar import Wrong, duration_text, name, node_name, port_number, quoted, seconds
from netfab.topology.reading import ANY_SCALAR, Reader, Run, checked, listed, text_of
from netfab.topology.schema import Check, Topology
from netfab.topology.suggest import nearest
from netfab.topology.tree import Tree
from netfab.topology.unread import Unread

HOST, INTERNET = "host", "internet"
_SENTENCE = r"(\S+) (reaches|does not reach) (\S+)(?: on (tcp|udp)/(\d+))?(?: via (\S+))?(?: within (\S+))?"


def _read(tree: Tree, path: str, run: Run) -> Check:
    check = checked(partial(parsed_check, at=run.at(tree, path)), text_of(tree, path, run), tree, path, run)
    run.spend(grammar.range_length(check.source) * grammar.range_length(check.target), tree, path)
    return check


def parsed_check(text: str, at: Location) -> Check:
    """Parse a sentence. Raises Wrong."""
    return Check(**_fields(text), at=at)


def _fields(text: str) -> dict[str, Any]:
    match = re.fullmatch(_SENTENCE, " ".join(text.split()))
    if match is None:
        raise Wrong(
            f"{quoted(text)} is not a check; "
            "write `web reaches db on tcp/5432 within 2s` or `a does not reach b`"
        )
    source, verb, target, protocol, port, via, within = match.groups()
    for end in (source, target):
        _refuse_misspelt(end)
    if source == INTERNET:
        raise Wrong(f"{quoted(text)}: nothing can be tried from the internet; write who reaches it")
    if via and verb != "reaches":
        raise Wrong(f"{quoted(text)}: `via` says which way {target} is reached, and it is not to be")
    return {
        "source": source,
        "target": target,
        "reaches": verb == "reaches",
        "protocol": protocol or "icmp",
        "port": port_number(port) if port else 0,
        "via": node_name(via) if via else "",
        "within": seconds(within) if within else None,
    }


def _refuse_misspelt(end: str) -> None:
    if is_address(end):
        address(end)
    elif grammar.is_range(end):
        prefix, first, last = grammar.range_bounds(end)
        for number in (first, last):
            name(f"{prefix}{number}")
    else:
        name(end)


CHECKS: Final = listed(Reader(_read, ANY_SCALAR))


def is_address(end: str) -> bool:
    """Whether this end is written as an address."""
    return ":" in end or end[:1].isdigit()


def check_text(check: Check) -> str:
    """The sentence, as written in a file."""
    words = [check.source, "reaches" if check.reaches else "does not reach", check.target]
    words += [f"on {check.protocol}/{check.port}"] * bool(check.port)
    words += [f"via {check.via}"] * bool(check.via)
    if check.within is not None:
        words += [f"within {duration_text(round(check.within * 1e6))}"]
    return " ".join(words)


def expanded(checks: Iterable[Check], bases: Mapping[str, tuple[str, ...]]) -> tuple[Check, ...]:
    """A range, or the name of an entry with a `scale`, expanded to all its nodes."""
    return tuple(
        check._replace(source=source, target=target)
        for check in checks
        for source in _each(check.source, bases)
        for target in _each(check.target, bases)
        if source != target or source == check.source
    )


def _each(end: str, bases: Mapping[str, tuple[str, ...]]) -> list[str]:
    return [each for one in grammar.expanded(end) for each in bases.get(one, (one,))]


def unknown_ends(topology: Topology, unread: Unread) -> Iterator[TopologyError]:
    """Names in `checks` that are neither nodes, nor `host` or `internet`."""
    for check in topology.checks:
        for end in (check.source, check.target, check.via):
            known = topology.nodes if end == check.via else {*topology.nodes, HOST, INTERNET}
            if end and not is_address(end) and end not in known and end not in unread.names("nodes"):
                near = nearest(end, known)
                meant = f"; did you mean `{near}`?" if near else ""
                yield TopologyError(f"there is no node {quoted(end)}{meant}", at=check.at)
