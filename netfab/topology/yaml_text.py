"""Texts, lists and maps as YAML that source.py reads back to the same: what could mean more is quoted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_PLAIN = r"[A-Za-z0-9_/][A-Za-z0-9_./+%-]*"
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def yaml_text(value: dict[str, Any]) -> str:
    """The map in block style, lists of texts on one line each."""
    return "".join(f"{line}\n" for line in _map(value, ""))


def _map(value: dict[str, Any], indent: str) -> Iterator[str]:
    for key, each in value.items():
        yield from _entry(f"{indent}{_scalar(key)}:", each, indent + "  ")


def _entry(before: str, value: Any, indent: str) -> Iterator[str]:
    """A value after its key: on the same line if it is a text or a list of texts."""
    if isinstance(value, str):
        yield f"{before} {_value(value)}"
    elif not value:
        yield f"{before} {'{}' if isinstance(value, dict) else '[]'}"
    elif isinstance(value, dict):
        yield before
        yield from _map(value, indent)
    elif all(isinstance(item, str) for item in value):
        yield f"{before} [{', '.join(map(_value, value))}]"
    else:
        yield before
        for item in value:
            yield from _item(item, indent)


def _item(value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, dict) and value:
        first, *rest = _map(value, indent + "  ")
        yield f"{indent}- {first.lstrip(' ')}"
        yield from rest
    else:
        yield from _entry(f"{indent}-", value, indent + "  ")


def _value(text: str) -> str:
    return _scalar(text.replace("$", "$$"))


def _scalar(text: str) -> str:
    if re.fullmatch(_PLAIN, text) and text.lower() not in ("null", "~"):
        return text
    return '"' + "".join(_ESCAPES.get(character) or _escaped(character) for character in text) + '"'


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
