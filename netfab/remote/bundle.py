"""What a remote host is sent: netfab's modules as one JSON object, identified by its sha256."""

from __future__ import annotations

import json
import os
import zlib
from functools import cache

from netfab.objects.digest import digest
from netfab.tuples import NamedTuple

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_NOT_THERE = ("cli",)  # what only a controller needs


class Bundle(NamedTuple):
    """path -> text, in a fixed order, as JSON."""

    sha: str
    data: bytes


def packed(made: Bundle) -> bytes:
    """The bytes to send: the size of the rest in eight digits, and the rest."""
    small = zlib.compress(made.data, 6)
    return b"%08d" % len(small) + small


@cache
def bundle() -> Bundle:
    """The bundle of the running netfab."""
    modules: dict[str, str] = {}
    for directory, below, names in os.walk(_ROOT):
        below[:] = sorted(name for name in below if name not in (*_NOT_THERE, "__pycache__"))
        for name in sorted(names):
            if name.endswith(".py"):
                path = os.path.join(directory, name)
                with open(path, encoding="utf-8") as file:
                    modules[os.path.join("netfab", os.path.relpath(path, _ROOT))] = file.read()
    data = json.dumps(modules).encode()
    return Bundle(digest(data).hex(), data)
