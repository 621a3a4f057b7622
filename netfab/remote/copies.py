"""Parts of a copy as messages, in batches large enough for one."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from typing import Any

from netfab.remote.messages import BadMessage
from netfab.runtime.parts import KINDS, Part

_BUNCH = 1 << 20  # bytes of data
_MOST = 1 << 10  # parts


def said(part: Part) -> list[Any]:
    """A part, encoded for a message."""
    kind, path, *numbers, data, target = part
    return [kind, list(path), *numbers, b64encode(data).decode(), target]


def part_of(words: Any) -> Part:
    """The inverse. Raises BadMessage."""
    try:
        kind, path, mode, accessed, modified, data, target = words
        part = Part(kind, tuple(path), mode, accessed, modified, b64decode(data, validate=True), target)
    except (TypeError, ValueError) as error:
        raise BadMessage("this is not a part of a copy") from error
    texts, numbers = (target, *part.path), (mode, accessed, modified)
    if kind not in KINDS or not _all(texts, str) or not _all(numbers, int):
        raise BadMessage("this is not a part of a copy")
    return part


def _all(found: Iterable[object], kind: type) -> bool:
    return all(isinstance(one, kind) for one in found)


def bunches(parts: Iterable[Part]) -> Iterator[list[list[Any]]]:
    """Encode the parts in batches, in order."""
    bunch, size = list[list[Any]](), 0
    for part in parts:
        bunch.append(said(part))
        size += len(part.data)
        if size >= _BUNCH or len(bunch) >= _MOST:
            yield bunch
            bunch, size = [], 0
    yield bunch
