"""YAML of another tool, read by what reads our own: places are kept, and what is odd is left out by name."""

from __future__ import annotations

import re
from collections.abc import Mapping

from netfab.convert.draft import Left, Notes
from netfab.errors import Location, NetfabError
from netfab.topology.source import Source
from netfab.topology.tree import Map


def tree_of(text: bytes, environ: Mapping[str, str], notes: Notes) -> Map:
    """The file's map. A variable that is not set is empty, as in the other tools. Raises NetfabError."""
    known = dict(environ)
    for line, row in enumerate(text.decode(errors="replace").splitlines(), 1):
        for match in re.finditer(r"(?<!\$)\$\{([A-Za-z_][A-Za-z0-9_]*)\}", row.partition(" #")[0]):
            if match[1] not in environ:
                known[match[1]] = ""
                at = Location(notes.file, line, match.start() + 1, "")
                notes.left.append(Left(at, f"{match[0]} is not set, and empty here"))
    source = Source(text, notes.file, known)
    if type(source.tree) is not Map:
        raise NetfabError(f"{notes.file} is not such a file: a map is expected")
    notes.left += [Left(error.at, error.message) for error in source.errors if error.at is not None]
    return source.tree
