"""The topology that a test gives: a text, a file or a dict. Pure, but for reading the file."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from netfab.errors import NetfabError
from netfab.tuples import NamedTuple

DEFAULT = "topology.yaml"  # beside the test


class Given(NamedTuple):
    """A topology's text. file: its name in errors; directory: what its relative paths are relative to."""

    text: str
    file: str
    directory: str


def given(topology: str | Path | Mapping[str, Any] | None, beside: Path) -> Given:
    """The topology meant by the marker's argument in the test file `beside`. Raises NetfabError."""
    __tracebackhide__ = True
    directory = beside.parent
    if isinstance(topology, Mapping):
        import yaml

        return Given(yaml.safe_dump(dict(topology), sort_keys=False), beside.name, str(directory))
    if isinstance(topology, str) and "\n" in topology:
        return Given(_as_it_stands(topology, beside), beside.name, str(directory))
    path = directory / (topology or DEFAULT)
    try:
        return Given(path.read_text(encoding="utf-8"), str(path), str(path.parent))
    except OSError as error:
        raise NetfabError(
            f"{path}: {error.strerror}",
            hint="give the marker `netfab` a topology: a file beside the test, its text, or a dict",
        ) from None


def _as_it_stands(topology: str, beside: Path) -> str:
    """The text, with line numbers as in the test file if it is found there verbatim: errors name them."""
    before, found, _ = beside.read_text(encoding="utf-8").partition(topology)
    if not found:
        return textwrap.dedent(topology)
    return "\n" * before.count("\n") + topology
