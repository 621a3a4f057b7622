"""Which fabrics have left marks on this host, found without any store.

A mark is a hash of a fabric's name (objects/link.py): candidate names come from namespaces and tables, and
the hash confirms them. Only reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from netfab.kernel.dumps import links, lo
from netfab.kernel.netns import NAMESPACE, Namespaces
from netfab.kernel.nft import is_marked, tables_there
from netfab.objects.base import HOST
from netfab.objects.firewall import table_name
from netfab.objects.link import Link, group_of, of_a_fabric, scratch_of
from netfab.tuples import NamedTuple


class Marked(NamedTuple):
    """Fabrics that have something here, and links of the host that belong to some fabric of another name."""

    fabrics: tuple[str, ...]
    nameless: tuple[str, ...]


def marked(namespaces: Namespaces, usual: frozenset[str]) -> Marked:
    """Find marks. `usual`: names of fabrics of which only links may be left."""
    on_host = [link for link in links(namespaces.socket(HOST)) if of_a_fabric(link)]
    in_nodes = dict(_marks_of_nodes(namespaces))
    prefix = table_name("")
    tables = {
        table.removeprefix(prefix)
        for family, table in tables_there()
        if table.startswith(prefix) and is_marked(family, table)
    }
    groups = {link.group for link in (*on_host, *in_nodes.values())}
    found = {
        name
        for name in tables.union(usual, (node.partition(".")[0] for node in in_nodes))
        if name in tables or not groups.isdisjoint(_groups(name))
    }
    known = {group for name in found for group in _groups(name)}
    nameless = tuple(link.name for link in on_host if link.group not in known)
    return Marked(tuple(sorted(found)), nameless)


def _groups(fabric: str) -> tuple[int, int]:
    group = group_of(fabric)
    return group, scratch_of(group)


def _marks_of_nodes(namespaces: Namespaces) -> Iterator[tuple[str, Link]]:
    """The lo of each namespace in /run/netns that some fabric made, by the namespace's name."""
    for name, what in namespaces.named(""):
        if what == NAMESPACE and "." in name:
            with suppress(OSError):  # deleted meanwhile
                link = lo(namespaces.socket(f"node {name}"))
                if of_a_fabric(link):
                    yield name, link
