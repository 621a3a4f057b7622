"""Which parts of a file could not be read: their absence must not cause follow-up errors.

The rules across entries go on with what could be read, and ask here before they report something missing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from netfab.errors import TopologyError
from netfab.topology import grammar
from netfab.topology.grammar import Wrong
from netfab.topology.schema import Network, Node

_MANY: Final = 10_000  # names of a range; beyond that, nobody refers to single ones


class Unread:
    """By entry, the keys with errors; and the names that failed entries would have had."""

    def __init__(self) -> None:
        self.links = False  # whether there were errors in links
        self._keys: dict[str, set[str]] = {}  # by the entry's path
        self._names: dict[str, set[str]] = {}  # by section

    def add(self, section: str, name: str, path: str, errors: Iterable[TopologyError]) -> None:
        """Note which keys of an entry these errors concern."""
        if keys := set(keys_of(path, errors)):
            self._keys.setdefault(path, set()).update(keys)
            self._names.setdefault(section, set()).update(_made(name))

    def any_of(self, entry: Network | Node, *keys: str) -> bool:
        """Whether one of these keys has an error; all may have if a kind is missing."""
        return not self._keys.get(entry.at.own.path, set()).isdisjoint((*keys, "kind", ""))

    def names(self, section: str) -> Collection[str]:
        """The names of `networks`, `nodes` or `hosts` entries that have an error."""
        return self._names.get(section, ())


def keys_of(path: str, errors: Iterable[TopologyError]) -> Iterator[str]:
    """The keys with errors of the entry at that path; "" for the entry as a whole."""
    for error in errors:
        if error.at is not None and error.at.path.startswith(path):
            below = error.at.path[len(path) :].lstrip(".")
            yield below.partition(".")[0].partition("[")[0]


def _made(name: str) -> list[str]:
    try:
        return grammar.expanded(name) if grammar.range_length(name) <= _MANY else []
    except Wrong:
        return [name]
