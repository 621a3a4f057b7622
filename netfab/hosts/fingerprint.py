"""The fingerprint of an observation of the host: if two are equal, nothing relevant differs.

Planning is a function of the facts, and what a kind reads is one of the dump, so comparing these is
enough. What the kernel changes by itself is left out: a bridge's timers, and the counters of rules.
"""

from __future__ import annotations

import marshal
from collections.abc import Sequence
from typing import Any

from netfab.objects.base import HOST, Dump, Space
from netfab.objects.bridge import Bridge
from netfab.objects.digest import digest
from netfab.objects.firewall import Firewall
from netfab.objects.link import DATA, Link
from netfab.plan.facts import Facts

# Fields of a dump that are the source of bridges and firewalls, are derived, or are handled separately.
_LEFT_OUT = {"spaces", "tables", "links", "marked", "owned", "files"}


def fingerprint(facts: Facts, dump: Dump, tables: Sequence[Firewall]) -> str:
    """In hexadecimal, the same in every process. `tables`: the firewalls found in the dump."""
    told = (
        *facts._replace(links=frozenset()),
        sorted(facts.links),
        tuple(Bridge.read(dump)),
        sorted(map(_compared, tables)),
        [value for name, value in dump._asdict().items() if name not in _LEFT_OUT],
        *_files(dump),
        [(name, space.known_by) for name, space in dump.spaces.items() if name != HOST],
    )
    host = marshal.dumps(_told(dump.spaces[HOST]), 2)  # five times faster than `repr`
    return digest(host + repr(told).encode(errors="surrogateescape")).hex()


def _compared(table: Firewall) -> tuple[Any, ...]:
    """The compared part of a table: rules are identified by their comments."""
    chains = [(*chain._replace(rules=()), [rule.comment for rule in chain.rules]) for chain in table.chains]
    return *table._replace(chains=()), chains


def _files(dump: Dump) -> tuple[list[tuple[str, int, int]], list[str]]:
    """The files, each with the index of its content, and the contents: many files share one."""
    contents: dict[str, int] = {}
    files = [
        (path, mode, contents.setdefault(content, len(contents)))
        for path, (mode, content) in dump.files.items()
    ]
    return files, list(contents)


def _told(space: Space) -> tuple[Any, ...]:
    """As plain tuples, since marshal accepts no subclasses."""
    links = [(*link[:5], *link.settings, _steady(link)) for link in space.links]
    return links, [tuple(message) for message in space.addresses], [tuple(route) for route in space.routes]


def _steady(link: Link) -> dict[int, bytes]:
    """Its attributes, without a bridge's, which include running timers."""
    if link.kind != "bridge":
        return link.attrs
    return {kind: value for kind, value in link.attrs.items() if kind != DATA}
