"""A topology being made from another tool's file, and how it becomes one that loads.

The loader is the judge: what it refuses of a draft is left out, and told with its place in the other file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from netfab.errors import Location, NetfabError, Several
from netfab.topology.grammar import MAX_NAME, NO_FABRIC_NAMES, NO_NODE_NAMES, proposed_name, shown
from netfab.topology.load import load
from netfab.topology.tree import Map, Scalar, Tree
from netfab.topology.tree import Sequence as List
from netfab.topology.yaml_text import yaml_text
from netfab.tuples import NamedTuple

Draft = dict[str, Any]  # of dicts, lists and Said


class Said(str):
    """A text of the draft, with its place in the other file."""

    at: Location

    def reworded(self, text: str) -> Said:
        """Another text from the same place."""
        said = Said(text)
        said.at = self.at
        return said


class Left(NamedTuple):
    """What was not carried over, and why."""

    at: Location
    reason: str

    def __str__(self) -> str:
        return f"{self.at}: {self.at.path}: {self.reason}" if self.at.path else f"{self.at}: {self.reason}"


class Converted(NamedTuple):
    """A topology's text, and what it leaves out of the other file."""

    text: str
    left: tuple[Left, ...]


class Notes:
    """The reading of another tool's file: its places, and what is left out."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.left: list[Left] = []
        self._keys: dict[str, Tree] = {}  # the places of keys, by path
        self._names: dict[str, str] = {}  # our names, by kind and name in the file
        self._taken = {*NO_NODE_NAMES}

    def leave(self, tree: Tree, path: str, reason: str = "") -> None:
        """Record that this is not in the topology."""
        place = self._keys.get(path, tree)
        at = Location(self.file, place.line, place.column, path)
        self.left.append(Left(at, reason or "not carried over"))

    def said(self, text: str, tree: Tree, path: str) -> Said:
        """A text with that place."""
        said = Said(text)
        said.at = Location(self.file, tree.line, tree.column, path)
        return said

    def text(self, tree: Tree | None, path: str) -> Said | None:
        """A scalar; anything else is left out."""
        if tree is None or (type(tree) is Scalar and tree.is_null):
            return None
        if type(tree) is Scalar:
            return self.said(tree.text, tree, path)
        self.leave(tree, path, "not carried over: a text is expected here")
        return None

    def texts(self, tree: Tree | None, path: str) -> list[Said]:
        """A list of scalars, or one; anything else is left out."""
        items = self.items(tree, path) if type(tree) is List else [(tree, path)]
        return [found for item, inner in items if (found := self.text(item, inner)) is not None]

    def items(self, tree: Tree | None, path: str) -> list[tuple[Tree, str]]:
        """Each item of a list with its path; anything else is left out."""
        if type(tree) is List:
            return [(item, f"{path}[{index}]") for index, item in enumerate(tree.items)]
        if tree is not None and not (type(tree) is Scalar and tree.is_null):
            self.leave(tree, path, "not carried over: a list is expected here")
        return []

    def entries(self, tree: Tree | None, path: str) -> Iterator[tuple[str, Tree, str]]:
        """Each key of a map with its value and path, `x-` ones aside; anything else is left out."""
        if type(tree) is Map:
            for key, value in tree.values.items():
                if not key.startswith("x-"):
                    inner = f"{path}.{shown(key)}".removeprefix(".")
                    self._keys[inner] = tree.keys[key]
                    yield key, value, inner
        elif tree is not None and not (type(tree) is Scalar and tree.is_null):
            self.leave(tree, path, "not carried over: a map is expected here")

    def renamed(self, names: Mapping[str, str], key: str, tree: Tree, path: str, into: Draft) -> None:
        """Move a key that only has another name here, if its value is a text; others are left out."""
        said = self.text(tree, path) if key in names else None
        if said is not None:
            into[names[key]] = said
        elif key not in names:
            self.leave(tree, path)

    def fabric(self, tree: Tree | None, path: str, default: str) -> str:
        """The fabric's name: the file's, as far as it is valid."""
        written = self.text(tree, path)
        name = proposed_name(written or default)
        if not name or name in NO_FABRIC_NAMES:
            name = "converted"
        if tree is not None and name != written:
            self.leave(tree, path, f"the fabric is called {name} here")
        return name

    def name(self, kind: str, written: str, tree: Tree, path: str) -> str:
        """The name here of the file's node or network: always the same, and unique."""
        key = f"{kind} {written}"
        if key not in self._names:
            base = proposed_name(written) or kind
            name, number = base, 1
            while name in self._taken:
                number += 1
                name = f"{base[: MAX_NAME - len(str(number)) - 1]}-{number}"
            self._names[key] = name
            self._taken.add(name)
            if name != written:
                self.leave(tree, path, f"the {kind} is called {name} here")
        return self._names[key]

    def known(self, kind: str, written: str) -> str | None:
        """The same, if it has a name already."""
        return self._names.get(f"{kind} {written}")


def settled(draft: Draft, notes: Notes) -> Converted:
    """The draft as a text that loads, less what the loader refuses. Raises NetfabError if nothing is left."""
    while True:
        text = yaml_text({key: _less_empty(value) for key, value in draft.items() if value or key == "nodes"})
        try:
            load(text.encode(errors="surrogateescape"), "-", "/", {})
        except NetfabError as error:
            errors = error.errors if isinstance(error, Several) else (error,)
            if not _without(draft, errors, notes):
                raise NetfabError(f"{notes.file} can't be converted: {error.message}") from None
        else:
            return Converted(text, tuple(sorted(dict.fromkeys(notes.left), key=lambda left: left.at[1:3])))


def _without(draft: Draft, errors: Sequence[NetfabError], notes: Notes) -> bool:
    """Remove from the draft what the errors are about; whether there was anything."""
    wrong: dict[tuple[int, Any], tuple[Any, Any, str]] = {}
    for error in errors:
        found = _place(draft, error.at.path if error.at else "")
        if found is not None:
            wrong.setdefault((id(found[0]), found[1]), (*found, error.message))
    for holder, key, message in sorted(wrong.values(), key=lambda each: str(each[1]).zfill(9), reverse=True):
        at = _origin(holder[key]) or _origin(holder) or Location(notes.file, 1, 1, str(key))
        notes.left.append(Left(at, f"not carried over: {message}"))
        del holder[key]
    return bool(wrong)


def _place(draft: Draft, path: str) -> tuple[Any, Any] | None:
    """The place in the draft of a path in the loader's errors: holder and key. A link is one thing."""
    here: Any = draft
    found: tuple[Any, Any] | None = None
    while path and not (found and here is not draft and found[0] is draft.get("links")):
        key: Any
        if isinstance(here, dict):
            fitting = [name for name in here if _begins(path, shown(name))]
            if not fitting:
                break
            key = max(fitting, key=len)
            path = path[len(shown(key)) :].removeprefix(".")
        else:
            match = re.match(r"\[(\d+)\]\.?", path) if isinstance(here, list) else None
            if match is None or int(match[1]) >= len(here):
                break
            key, path = int(match[1]), path[match.end() :]
        found, here = (here, key), here[key]
    return found


def _begins(path: str, name: str) -> bool:
    """Whether the first step of the path is that key."""
    return path.startswith(name) and path[len(name) : len(name) + 1] in ("", ".", "[")


def _less_empty(value: Any) -> Any:
    """The same without empty lists."""
    if isinstance(value, dict):
        return {key: _less_empty(each) for key, each in value.items() if each != []}
    return [_less_empty(each) for each in value] if isinstance(value, list) else value


def _origin(value: Any) -> Location | None:
    """The place of the first text in a part of the draft."""
    if isinstance(value, Said):
        return value.at
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next(filter(None, map(_origin, parts)), None)
