"""`--set PATH=VALUE`: one value of the file, as if the file had it so.

PATH is what errors print (`nodes.web.scale`, `links[0].delay`), a key with a dot in it quoted
(`files."/etc/app.conf"`); VALUE is YAML as in the file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from netfab.errors import Location, TopologyError
from netfab.topology.grammar import quoted, shown
from netfab.topology.reading import Run
from netfab.topology.source import Source
from netfab.topology.suggest import did_you_mean
from netfab.topology.tree import Map, Scalar, Tree
from netfab.topology.tree import Sequence as List

_FILE: Final = "--set"  # the name of the file whose lines are the settings, in order
_STEP: Final = r'"([^"]*)"|((?:[^."\[\]=]|\.\.)+)|\[(\d{1,6})\]'
_PATH: Final = rf"(?:{_STEP})(?:\.(?:{_STEP})|\[\d{{1,6}}\])*"
_NAMED: Final = ("networks", "nodes", "hosts", "kinds")
_ELSEWHERE: Final = {"name": "--name gives the fabric another name", "include": "name the file that includes"}

Step = str | int


def with_settings(
    tree: Map, settings: Sequence[str], directory: str, environ: Mapping[str, str], run: Run
) -> Map:
    """The tree with these values set. Raises TopologyError for one that has no meaning in it.

    directory: from which relative paths in values are taken.
    """
    first = run.files.add(_FILE, directory)
    found: Tree = tree
    for number, setting in enumerate(settings, 1):
        match = re.match(rf"({_PATH})=", setting)
        if match is None:
            at = Location(_FILE, number, 1, "")
            raise TopologyError(f"{quoted(setting)} is not PATH=VALUE: `nodes.web.scale=3`", at=at)
        steps = [int(index) if index else whole or bare for whole, bare, index in re.findall(_STEP, match[1])]
        place = Scalar(match[1], False, first + number, 1)
        if steps[0] in _ELSEWHERE:
            raise run.error(place, shown(match[1]), f"it can't be set; {_ELSEWHERE[str(steps[0])]}")
        # Padded in front so that it has the right position among the settings.
        text = "\n" * (number - 1) + " " * match.end() + (setting[match.end() :] or '""')
        try:
            source = Source(text.encode(errors="surrogateescape"), _FILE, environ, first)
        except TopologyError as error:  # its place may be past the end of the text
            raise run.error(place, shown(match[1]), error.message) from None
        if source.errors:
            raise source.errors[0]
        found = _changed(found, steps, 0, source.tree, place, run)
    assert type(found) is Map
    return found


def _changed(
    tree: Tree | None, steps: Sequence[Step], done: int, value: Tree, place: Scalar, run: Run
) -> Tree:
    """The tree with the value at that path; nodes along it are copied, since aliases may share them."""
    if done == len(steps):
        return value
    step = steps[done]
    if tree is None or (type(tree) is Scalar and tree.is_null):
        tree = Map({}, {}, place.line, place.column)
    if type(tree) is List and isinstance(step, int) and step < len(tree.items):
        items = [*tree.items]
        items[step] = _changed(items[step], steps, done + 1, value, place, run)
        return List(items, tree.line, tree.column)
    if type(tree) is not Map or isinstance(step, int):
        raise run.error(place, shown(place.text), _no_step(tree, step))
    if done == 1 and steps[0] in _NAMED and step not in tree.values:
        near = did_you_mean(step, tree.values.keys())
        said = f"`{shown(step)}` is not in `{steps[0]}`, and --set adds no entries"
        raise run.error(place, shown(place.text), f"{said}; {near}" if near else said)
    inner = _changed(tree.values.get(step), steps, done + 1, value, place, run)
    key = tree.keys.get(step) or Scalar(step, False, place.line, place.column)
    return Map({**tree.values, step: inner}, {**tree.keys, step: key}, tree.line, tree.column)


def _no_step(tree: Tree, step: Step) -> str:
    if type(tree) is List:
        return f"there is a list of {len(tree.items)} here; write which: `[0]`"
    what = "a map" if type(tree) is Map else f"the text {quoted(tree.text)}" if type(tree) is Scalar else ""
    return f"there is {what} here, and no `{f'[{step}]' if isinstance(step, int) else shown(step)}` in it"
