"""`include`: the entries of several files as one tree. Opens no file; a function that does is handed in.

What is included stands before what the file itself has. Entries of a section are put together, and so are
lists; whatever stands twice is an error with both places.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from typing import Final

from netfab.errors import TopologyError
from netfab.topology.grammar import shown
from netfab.topology.reading import ANY_SCALAR, Run, list_of, listed, map_of, scalar
from netfab.topology.source import Source
from netfab.topology.tree import Map, Scalar, Sequence, Tree

Read = Callable[[str], bytes]  # an absolute path's content; raises OSError

INCLUDE: Final = listed(scalar(str, ANY_SCALAR))
MAX_FILES: Final = 100
_SECTIONS: Final = ("defaults", "kinds", "networks", "nodes", "hosts")
_LISTS: Final = ("avoid", "links", "checks")


def no_file(path: str) -> bytes:
    """For a text that may not include files."""
    raise FileNotFoundError(2, f"{path} can't be included here")


class Inclusion:
    """The reading of one topology from its files."""

    def __init__(self, run: Run, environ: Mapping[str, str], read: Read) -> None:
        self.errors: list[TopologyError] = []  # of the YAML structure
        self._run = run
        self._environ = environ
        self._read = read
        self._read_before: set[str] = set()
        self._values = 0

    def whole(self, text: bytes, file: str, directory: str) -> Map:
        """The tree of a file and everything it includes. Raises TopologyError if one can't be read."""
        path = posixpath.normpath(posixpath.join(directory, file))
        return self._file(text, file, directory, (path,))

    def _file(self, text: bytes, file: str, directory: str, within: tuple[str, ...]) -> Map:
        """within: the paths of this file and of those that include it."""
        source = Source(text, file, self._environ, self._run.files.add(file, directory), self._values)
        self._values = source.values
        self.errors += source.errors
        self._read_before.add(within[-1])
        own = map_of(source.tree, "", self._run)
        if len(within) > 1 and "name" in own.values:
            self._run.wrong(
                own.keys["name"], "name", "the file that includes this one gives the fabric its name"
            )
        if "include" not in own.values:
            return own
        found = Map({}, {}, own.line, own.column)
        for index, item in enumerate(list_of(own.values["include"], "include", self._run).items):
            if type(item) is Scalar and not item.is_null:
                found = self._joined(found, self._included(item, f"include[{index}]", file, within))
        return self._joined(found, own)

    def _included(self, item: Scalar, path: str, file: str, within: tuple[str, ...]) -> Map:
        run = self._run
        named = posixpath.normpath(posixpath.join(run.files.directory(item), item.text))
        if named in within:
            chain = " includes ".join(map(posixpath.basename, (*within[within.index(named) :], named)))
            raise run.error(item, path, f"{shown(chain)}: no file can include itself")
        if named in self._read_before:
            return Map({}, {}, item.line, item.column)
        if len(self._read_before) >= MAX_FILES:
            raise run.error(item, path, f"more than {MAX_FILES} files are included")
        try:
            text = self._read(named)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
            raise run.error(item, path, f"{shown(item.text)}: {reason}") from None
        called = posixpath.normpath(posixpath.join(posixpath.dirname(file), item.text))
        return self._file(text, called, posixpath.dirname(named), (*within, named))

    def _joined(self, first: Map, second: Map) -> Map:
        """Both maps, the first one's entries before the second's."""
        values, keys = {**second.values}, {**first.keys, **second.keys}
        for key, tree in first.values.items():
            if key not in second.values or key == "include":
                values.setdefault(key, tree)
            elif key in _SECTIONS:
                values[key] = self._section(key, tree, second.values[key])
            elif key in _LISTS:
                several = [list_of(each, key, self._run) for each in (tree, second.values[key])]
                items = [item for each in several for item in each.items]
                values[key] = Sequence(items, several[1].line, several[1].column)
            elif not key.startswith("x-"):
                self._twice(key, first.keys[key], second.keys[key])
        return Map(values, keys, second.line, second.column)

    def _section(self, key: str, first: Tree, second: Tree) -> Map:
        one, other = map_of(first, key, self._run), map_of(second, key, self._run)
        for name in one.values:
            if name in other.values and not name.startswith("x-"):
                self._twice(f"{key}.{shown(name)}", one.keys[name], other.keys[name])
        return Map({**one.values, **other.values}, {**one.keys, **other.keys}, other.line, other.column)

    def _twice(self, path: str, first: Scalar, second: Scalar) -> None:
        self._run.wrong(second, path, f"the key stands twice, first at {self._run.at(first, path)}")
