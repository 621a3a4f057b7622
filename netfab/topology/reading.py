"""Readers: from a Tree to a value, each with the JSON schema of what it takes.

A reader raises the TopologyError of what it can't read; records, lists and maps note it and read on, so
that all of a file's errors come in one run. Knows no key: the tables are port.py's, network.py's,
node.py's, link.py's, load.py's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, ParamSpec, TypeVar

from netfab.errors import Location, TopologyError
from netfab.topology import MAX_ERRORS
from netfab.topology.files import Files
from netfab.topology.grammar import Wrong, quoted, shown
from netfab.topology.schema import Places, Reserved
from netfab.topology.suggest import unknown_key
from netfab.topology.tree import Map, Scalar, Sequence, Tree

T = TypeVar("T")
K = TypeVar("K")
P = ParamSpec("P")
Json = dict[str, Any]

MAX_EXPANDED = 1_000_000  # values that ranges, `scale`, kinds and port ranges may add to a file
ENTRY_WEIGHT = 10  # values that a node, network or link counts as, whatever its keys
_REFUSED = frozenset("\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class EnoughErrors(Exception):
    """Too many errors to read on; a suggestion for each of a million typos would take minutes."""


class Run:
    """One reading of one topology: what all readers share."""

    def __init__(self) -> None:
        self.files = Files()
        self.errors: list[TopologyError] = []
        self.reserved: list[Reserved] = []
        self._left = MAX_EXPANDED

    def at(self, tree: Tree, path: str) -> Location:
        """The place of a tree, for errors."""
        return self.files.at(tree, path)

    def error(self, tree: Tree, path: str, message: str) -> TopologyError:
        """An error at a tree, to be raised."""
        return TopologyError(message, at=self.at(tree, path))

    def attempt(self, read: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Read; an error is collected, so that the next thing can be read."""
        try:
            read(*args, **kwargs)
        except TopologyError as error:
            self.note(error)

    def note(self, error: TopologyError) -> None:
        """Collect an error, and read on. Raises EnoughErrors if there are too many."""
        self.errors.append(error)
        if len(self.errors) >= MAX_ERRORS:
            raise EnoughErrors

    def error_at(self, at: Location, message: str) -> None:
        """Collect an error at a place."""
        self.note(TopologyError(message, at=at))

    def wrong(self, tree: Tree, path: str, message: str) -> None:
        """Collect an error at a tree."""
        self.note(self.error(tree, path, message))

    def reserve(self, key: str, tree: Tree, path: str) -> None:
        """Collect a key that was read but has no effect in this version."""
        self.reserved.append(Reserved(key, self.at(tree, path)))

    def spend(self, values: int, tree: Tree, path: str) -> None:
        """Count values before they are multiplied; raises TopologyError if a small file would grow huge."""
        self._left -= values
        if self._left < 0:
            raise self.error(
                tree, path, f"ranges and kinds make more than {MAX_EXPANDED} values of this file"
            )


class Reader(Generic[T]):
    """How a value is read, the JSON schema of valid ones, and whether it has no effect yet."""

    __slots__ = ("later", "read", "schema")

    def __init__(self, read: Callable[[Tree, str, Run], T], schema: Json, later: bool = False) -> None:
        self.read, self.schema, self.later = read, schema, later


class Record:
    """A map read by a table of keys: its values by key, and their places."""

    __slots__ = ("at", "values")

    def __init__(self, values: dict[str, Any], at: Places) -> None:
        self.values, self.at = values, at


def text_of(tree: Tree, path: str, run: Run, *, free: bool = False) -> str:
    """A scalar's text. Only free text (`command`, `exec`, `files`, `env`) may have control characters."""
    if type(tree) is not Scalar:
        raise run.error(tree, path, _not_a_text(tree))
    text = tree.text
    if not text.isprintable() and (bad := _refused(text, free)):
        raise run.error(tree, path, f"the character U+{ord(bad):04X} is not allowed here")
    if tree.plain and tree.is_null:
        raise run.error(tree, path, 'nothing is written here; an empty text is `""`')
    return text


def _refused(text: str, free: bool) -> str:
    """The first forbidden character: a terminal obeys it, or no argument can hold it."""
    for character in text:
        control = character < " " or "\x7f" <= character <= "\x9f" or character in _REFUSED
        if character == "\0" or "\ud800" <= character <= "\udfff" or (control and not free):
            return character
    return ""


def _not_a_text(tree: Tree) -> str:
    if type(tree) is Map and len(tree.values) == 1:
        key, value = next(iter(tree.values.items()))
        if type(value) is Scalar and value.is_null:
            return f'a text is expected and `{{{shown(key)}}}` is a map; quote it: "{{{shown(key)}}}"'
    return f"a text is expected, not a {'map' if type(tree) is Map else 'list'}"


def map_of(tree: Tree, path: str, run: Run) -> Map:
    """A map; an empty value is an empty map."""
    if type(tree) is Map:
        return tree
    if type(tree) is Scalar and tree.is_null:
        return Map({}, {}, tree.line, tree.column)
    raise run.error(tree, path, f"a map is expected: `{{key: value}}`, not {_shown(tree)}")


def list_of(tree: Tree, path: str, run: Run) -> Sequence:
    """A list; an empty value is an empty list."""
    if type(tree) is Sequence:
        return tree
    if type(tree) is Scalar and tree.is_null:
        return Sequence([], tree.line, tree.column)
    raise run.error(tree, path, f"a list is expected: `[{_shown(tree) if type(tree) is Scalar else '...'}]`")


def _shown(tree: Tree) -> str:
    if type(tree) is Scalar:
        return quoted(tree.text).strip("`") or '""'
    return "a list" if type(tree) is Sequence else "a map"


def read_record(keys: Mapping[str, Reader[Any]], tree: Map, path: str, run: Run) -> Record:
    """A map with the keys of a table. What can't be read is reported and left out."""
    values: dict[str, Any] = {}
    places: dict[str, Location] = {}
    for key, value in tree.values.items():
        reader = keys.get(key)
        if reader is None:
            if not key.startswith("x-"):
                place = tree.keys[key]
                run.wrong(place, f"{path}.{shown(key)}".lstrip("."), unknown_key(key, keys))
            continue
        inner = f"{path}.{key}" if path else key
        try:
            values[key] = reader.read(value, inner, run)
        except TopologyError as error:
            run.note(error)
        places[key] = run.at(value, inner)
    return Record(values, Places(run.at(tree, path), places))


def record_schema(keys: Mapping[str, Reader[Any]], meanings: Mapping[str, str]) -> Json:
    """The JSON schema of a map with these keys, each with its description."""
    said = {key: f"{meanings[key]}{' Not supported yet.' * reader.later}" for key, reader in keys.items()}
    return {
        "type": ["object", "null"],
        "properties": {key: {**reader.schema, "description": said[key]} for key, reader in keys.items()},
        "patternProperties": {"^x-": {}},
        "additionalProperties": False,
    }


def scalar(parse: Callable[[str], T], schema: Json) -> Reader[T]:
    """A text by a small grammar."""

    def read(tree: Tree, path: str, run: Run) -> T:
        return parsed(parse, tree, path, run)

    return Reader(read, schema)


def parsed(parse: Callable[[str], T], tree: Tree, path: str, run: Run) -> T:
    """A scalar's text by a small grammar."""
    return checked(parse, text_of(tree, path, run), tree, path, run)


def checked(parse: Callable[[str], T], text: str, tree: Tree, path: str, run: Run) -> T:
    """Parse by a small grammar a text that the tree at this path says or implies."""
    try:
        return parse(text)
    except Wrong as wrong:
        raise run.error(tree, path, str(wrong)) from None


def free_text() -> Reader[str]:
    """A text that is data: in a command, a file, an environment."""
    return Reader(lambda tree, path, run: text_of(tree, path, run, free=True), ANY_SCALAR)


def listed(item: Reader[T], *, alone: bool = False) -> Reader[tuple[T, ...]]:
    """A list; `alone`: a single text may stand for a list of one."""

    def read(tree: Tree, path: str, run: Run) -> tuple[T, ...]:
        if alone and type(tree) is Scalar and not tree.is_null:
            return (item.read(tree, path, run),)
        found = []
        for index, each in enumerate(list_of(tree, path, run).items):
            try:
                found.append(item.read(each, f"{path}[{index}]", run))
            except TopologyError as error:
                run.note(error)
        return tuple(found)

    schema: Json = {"type": ["array", "null"], "items": item.schema}
    return Reader(read, {"anyOf": [item.schema, schema]} if alone else schema)


def named(
    key: Callable[[str], K], value: Reader[T], pattern: str = "", *, data: bool = False
) -> Reader[tuple[tuple[K, T], ...]]:
    """A map whose keys are names that users choose; `data`: also those that begin with `x-`."""

    def read(tree: Tree, path: str, run: Run) -> tuple[tuple[K, T], ...]:
        found: dict[K, T] = {}
        first: dict[K, Location] = {}
        entries = map_of(tree, path, run)
        for written, each in entries.values.items():
            if written.startswith("x-") and not data:
                continue
            place, inner = entries.keys[written], f"{path}.{shown(written)}"
            try:
                name = parsed(key, place, inner, run)
                if name in first:
                    raise run.error(place, inner, f"{name} stands twice, first at {first[name]}")
                first[name] = run.at(place, inner)
                found[name] = value.read(each, inner, run)
            except TopologyError as error:
                run.note(error)
        return tuple(found.items())

    return Reader(read, named_schema(value.schema, pattern))


def named_schema(value: Json, pattern: str) -> Json:
    """The JSON schema of a map with names that users choose as keys, by a pattern if given."""
    names: Json = {
        "propertyNames": {"anyOf": [{"pattern": f"^(?:{pattern})$"}, {"pattern": "^x-"}, TEMPLATE]}
    }
    return {"type": ["object", "null"], "additionalProperties": value, **(names if pattern else {})}


def words(meanings: Mapping[str, Any], other: Reader[T]) -> Reader[T]:
    """One of some words, each with its meaning; or else what another reader accepts."""

    def read(tree: Tree, path: str, run: Run) -> T:
        if type(tree) is not Scalar or tree.text not in meanings:
            try:
                return other.read(tree, path, run)
            except TopologyError as error:
                if type(tree) is Scalar and not any(map(str.isdigit, tree.text)):  # meant as one of the words
                    here = ", ".join(f"`{word}`" for word in meanings)
                    error = run.error(tree, path, f"{error.message}; the words here are {here}")
                raise error from None
        meaning: T = meanings[tree.text]
        return meaning

    # In an editor's YAML, `true` and `false` are no strings.
    known = [{"true": True, "false": False}.get(word, word) for word in meanings]
    return Reader(read, {"anyOf": [{"enum": known}, other.schema]})


def choice(meanings: Mapping[str, T]) -> Reader[T]:
    """One of some words."""

    def read(tree: Tree, path: str, run: Run) -> T:
        text = text_of(tree, path, run)
        if text not in meanings:
            raise run.error(
                tree, path, f"{quoted(text)} is not one of {', '.join(f'`{word}`' for word in meanings)}"
            )
        return meanings[text]

    known = [{"true": True, "false": False}.get(word, word) for word in meanings]
    return Reader(read, {"anyOf": [{"enum": known}, TEMPLATE]})


def reserved(key: str, reader: Reader[T], *without_effect: T) -> Reader[T]:
    """A key without effect in this version; some values ask for nothing and are accepted."""

    def read(tree: Tree, path: str, run: Run) -> T:
        value = reader.read(tree, path, run)
        if value not in without_effect:
            run.reserve(key, tree, path)
        return value

    return Reader(read, reader.schema, later=True)


def refused(message: str) -> Reader[Any]:
    """A key that is valid elsewhere but not here."""

    def read(tree: Tree, path: str, run: Run) -> Any:
        raise run.error(tree, path, message)

    return Reader(read, {"not": {}})


# `${VAR}`, `{n}` and `{node}` may stand in any scalar, whatever its type is in the end.
TEMPLATE: Json = {"$ref": "#/$defs/template"}
DEFINITIONS: Json = {"template": {"type": "string", "pattern": r"\$\{|\{n\}|\{node\}"}}
ANY_SCALAR: Json = {"type": ["string", "number", "boolean"]}


def pattern(expression: str) -> Json:
    """The JSON schema of a text or number by a regular expression."""
    return {"anyOf": [{"type": ["string", "number"], "pattern": f"^(?:{expression})$"}, TEMPLATE]}


def number(least: int, most: int) -> Json:
    """The JSON schema of a whole number between two."""
    return {"anyOf": [{"type": "integer", "minimum": least, "maximum": most}, TEMPLATE]}
