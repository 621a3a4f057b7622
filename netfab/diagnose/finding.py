"""A finding: what is wrong on a packet's path, and what drift it would show up as; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from netfab.objects.view import View
from netfab.tuples import NamedTuple

HOST = ""  # a host's own namespace, among the spaces


class Place(NamedTuple):
    """A namespace: a node's, or, without a node, a host's."""

    host: str
    node: str


class Traces(NamedTuple):
    """How a cause would show in the drift: a line that contains all words of one of these."""

    host: str = ""
    words: tuple[tuple[str, ...], ...] = ()


NO_TRACES = Traces()


class Finding(NamedTuple):
    """What is wrong, in terms of the file and the plan, and what would repair it."""

    what: str
    cure: str = ""
    no_route: bool = False  # which may be intended
    traces: Traces = NO_TRACES
    unasked: str = ""  # the host that would know more, but is not reached


def name_of(place: Place) -> str:
    """Its displayed name."""
    return place.node or (f"host {place.host}" if place.host else "the host")


def by(place: Place, *words: str) -> Traces:
    """Traces on that host: a line with any of these words."""
    return Traces(place.host, tuple((word,) for word in words))


def drifted(views: Mapping[str, View], finding: Finding) -> bool:
    """Whether the drift contains that cause."""
    lines = views[finding.traces.host].drift if finding.traces.words else ()
    return any(all(_says(line, word) for word in words) for line in lines for words in finding.traces.words)


def _says(line: str, word: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", line) is not None


def without(place: Place) -> Traces:
    """The traces of a missing node's namespace."""
    return Traces(place.host, (("namespace", place.node),))
