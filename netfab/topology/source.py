"""Text to Tree: YAML by the C parser's events, with every line and column, and `${VAR}`.

Knows YAML's structure and nothing of what a key means; types are the schema's business, so a scalar stays
the text that was typed (to YAML 1.1 `12:34:56:11:22:33` is the number 9783976953). What could make a small
file cost much is counted and refused before it costs: a "billion laughs" file is never expanded.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, cast

from netfab.errors import Location, TopologyError
from netfab.topology import MAX_BYTES, MAX_ERRORS
from netfab.topology.files import LINE
from netfab.topology.grammar import Wrong, shown
from netfab.topology.tree import Map, Scalar, Sequence, Tree
from netfab.topology.variables import interpolated

MAX_DEPTH = 32
_EMPTY = "the file is empty; `nodes:` and `networks:` are expected"
MAX_NODES = 500_000  # scalars, lists and maps, after aliases are expanded


def _events_of(text: str) -> Callable[[], Any]:
    """The function that returns a text's next event. Raises yaml.YAMLError."""
    try:
        from yaml._yaml import CParser
    except ImportError:  # a PyYAML built without libyaml; ten times slower
        from yaml import SafeLoader

        return SafeLoader(text).get_event
    return cast("Callable[[], Any]", CParser(text).get_event)


class Source:
    """A file that was read: its tree, and errors that did not stop the reading."""

    def __init__(
        self, text: bytes, file: str, environ: Mapping[str, str], before: int = 0, values: int = 0
    ) -> None:
        """before: the number at which its lines start (files.py). values: how many were read already."""
        self.errors: list[TopologyError] = []
        self._file = file
        self._environ = environ
        self._first = before + 1
        self._count = values
        self._deepest = 0
        self._path: list[str | int] = []  # keys and positions leading to the current node
        self._anchors: dict[str, tuple[Tree, int, int]] = {}  # the tree, its size and its height
        self._open: set[str] = set()  # anchors whose node is not complete
        self._text = self._decoded(text)
        self.tree = self._document()

    @property
    def values(self) -> int:
        """How many scalars, lists and maps were read, aliases expanded; including those before this file."""
        return self._count

    def _decoded(self, text: bytes) -> str:
        if len(text) > MAX_BYTES:
            self._stop(1, 1, f"the file has {len(text)} bytes; {MAX_BYTES} (4 MiB) is the limit")
        text = text.removeprefix(BOM_UTF8)
        try:
            return text.decode()
        except UnicodeDecodeError as error:
            before = text[: error.start].decode()
            self._stop(
                before.count("\n") + 1,
                len(before) - before.rfind("\n"),
                f"the byte 0x{text[error.start]:02x} is not UTF-8; save the file as UTF-8",
            )

    def _document(self) -> Tree:
        import yaml

        self._yaml: Any = yaml  # the event classes; imported here because only reading a file needs them
        try:
            self._next = _events_of(self._text)
            self._next()  # StreamStart
            if type(self._next()) is yaml.StreamEndEvent:
                self._stop(1, 1, _EMPTY)
            tree = self._value(self._next(), 0)
            self._next()  # DocumentEnd
            event = self._next()
        except yaml.YAMLError as error:
            self._syntax(error)
        if type(event) is not yaml.StreamEndEvent:
            mark = event.start_mark
            self._stop(mark.line + 1, mark.column + 1, "a second document begins; one file is one fabric")
        if type(tree) is Scalar and tree.is_null:
            self._stop(1, 1, _EMPTY)
        return tree

    def _node(self, event: Any, depth: int) -> Tree:
        """The node that begins with this event."""
        kind = type(event)
        yaml = self._yaml
        mark = event.start_mark
        line, column = mark.line + self._first, mark.column + 1
        anchor: str | None = event.anchor
        if kind is yaml.AliasEvent:
            return self._alias(str(anchor), depth, line, column)
        self._count += 1
        if self._count > MAX_NODES:
            self._stop(line, column, f"more than {MAX_NODES} values, aliases expanded")
        if depth > self._deepest:
            self._deepest = depth
            if depth > MAX_DEPTH:
                self._stop(line, column, f"nested more than {MAX_DEPTH} deep")
        if event.tag is not None:
            self._wrong(
                line,
                column,
                f"the tag `{shown(event.tag.replace('tag:yaml.org,2002:', '!!'))}` is refused; "
                "a key decides its value's type",
            )
        if anchor is not None:
            return self._anchored(event, anchor, depth, line, column)
        if kind is yaml.ScalarEvent:  # most nodes are; saving one call is noticeable
            return Scalar(event.value, not event.style, line, column)
        return self._content(event, depth, line, column)

    def _content(self, event: Any, depth: int, line: int, column: int) -> Tree:
        kind = type(event)
        if kind is self._yaml.ScalarEvent:
            return Scalar(event.value, not event.style, line, column)
        if kind is self._yaml.MappingStartEvent:
            return self._map(depth, line, column)
        return self._sequence(depth, line, column)

    def _sequence(self, depth: int, line: int, column: int) -> Sequence:
        items: list[Tree] = []
        end = self._yaml.SequenceEndEvent
        while type(event := self._next()) is not end:
            self._path.append(len(items))
            items.append(self._value(event, depth))
            self._path.pop()
        return Sequence(items, line, column)

    def _map(self, depth: int, line: int, column: int) -> Map:
        values: dict[str, Tree] = {}
        keys: dict[str, Scalar] = {}
        merge: Scalar | None = None
        merged: Map | None = None
        end = self._yaml.MappingEndEvent
        while type(event := self._next()) is not end:
            key = self._node(event, depth + 1)
            if type(key) is not Scalar or (key.is_null and not key.text):
                self._wrong(key.line, key.column, "a key must be a text; quote it if it is one")
                self._node(self._next(), depth + 1)
                continue
            self._path.append(key.text)
            value = self._value(self._next(), depth)
            is_merge = key.text == "<<" and key.plain
            if first := merge if is_merge else keys.get(key.text):
                self._wrong(
                    key.line,
                    key.column,
                    f"the key stands twice, first at {self._at(first.line, first.column)}",
                )
            elif is_merge:
                merge, merged = key, self._merged(value)
            else:
                keys[key.text] = key
                values[key.text] = value
            self._path.pop()
        if merged is not None:
            values = {**merged.values, **values}
            keys = {**merged.keys, **keys}
        return Map(values, keys, line, column)

    def _merged(self, value: Tree) -> Map | None:
        """The maps of `<<`: one map, or several of which the first takes precedence."""
        sources = value.items if type(value) is Sequence else [value]
        result = Map({}, {}, value.line, value.column)
        for source in reversed(sources):
            if type(source) is not Map:
                self._wrong(
                    source.line,
                    source.column,
                    "`<<` merges a map or a list of maps, mostly an alias: `<<: *base`",
                )
                return None
            result.values.update(source.values)
            result.keys.update(source.keys)
        return result

    def _value(self, event: Any, depth: int) -> Tree:
        """A node as a value: the place where scalars are interpolated."""
        tree = self._node(event, depth + 1)
        # An alias's scalar was interpolated at its anchor; a second time would read `$$` twice.
        if type(tree) is Scalar and "$" in tree.text and type(event) is not self._yaml.AliasEvent:
            try:
                text = interpolated(tree.text, self._environ)
            except Wrong as wrong:
                self._wrong(tree.line, tree.column, str(wrong))
            else:
                # In place, since the anchor's table has this very object; a value of `null` is a text.
                tree.text, tree.plain = text, tree.plain and text == tree.text
        return tree

    def _anchored(self, event: Any, anchor: str, depth: int, line: int, column: int) -> Tree:
        count, deepest = self._count - 1, self._deepest
        self._deepest = depth
        self._open.add(anchor)
        tree = self._content(event, depth, line, column)
        self._open.discard(anchor)
        self._anchors[anchor] = tree, self._count - count, self._deepest - depth
        self._deepest = max(deepest, self._deepest)
        return tree

    def _alias(self, anchor: str, depth: int, line: int, column: int) -> Tree:
        if anchor in self._open:
            self._stop(line, column, f"the alias `*{anchor}` stands inside what it repeats")
        if anchor not in self._anchors:
            self._stop(line, column, f"the alias `*{anchor}` repeats nothing; no `&{anchor}` stands above it")
        tree, size, height = self._anchors[anchor]
        self._count += size
        if self._count > MAX_NODES:
            self._stop(line, column, f"more than {MAX_NODES} values, aliases expanded")
        self._deepest = max(self._deepest, depth + height)
        if depth + height > MAX_DEPTH:
            self._stop(line, column, f"nested more than {MAX_DEPTH} deep, aliases expanded")
        return tree

    def _syntax(self, error: Any) -> NoReturn:
        """A YAML error in our words, with a hint for known pitfalls."""
        if isinstance(error, self._yaml.reader.ReaderError):
            before = self._text.encode()[: error.position].decode(errors="ignore")
            line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
            self._stop(line, column, f"the character U+{int(error.character):04X} is not allowed in YAML")
        mark = error.problem_mark or error.context_mark
        line, column = mark.line + 1, mark.column + 1
        lines = self._text.splitlines()
        rest = lines[mark.line][mark.column :] if mark.line < len(lines) else ""
        context = f"{error.context}, " if error.context else ""
        self._stop(line, column, f"{context}{error.problem}{_trap(error.problem, rest)}")

    def _at(self, line: int, column: int) -> Location:
        path = "".join(f"[{each}]" if isinstance(each, int) else f".{shown(each)}" for each in self._path)
        return Location(self._file, line & LINE, column, path.removeprefix("."))

    def _wrong(self, line: int, column: int, message: str) -> None:
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(TopologyError(message, at=self._at(line, column)))

    def _stop(self, line: int, column: int, message: str) -> NoReturn:
        raise TopologyError(message, at=self._at(line, column))


def _trap(problem: str, rest: str) -> str:
    """What was probably meant where the parser stopped: the first characters of the rest of the line tell."""
    if problem.startswith("mapping values"):
        return "; a text with `: ` in it must be quoted, and a map below a key begins in a line of its own"
    if rest.startswith(":"):
        return '; a value that begins with `:` must be quoted between `{}` or `[]`: ":80"'
    if rest.startswith("{"):
        return '; a text with `{n}` must be quoted between `{}` or `[]`: "leaf{n}"'
    if rest.startswith("\t"):
        return "; a tab: YAML is indented with spaces"
    if rest[:1] in ("%", "@", "`"):
        return f"; a value that begins with `{rest[0]}` must be quoted"
    return ""
