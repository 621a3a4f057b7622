"""What a container sees of the host, as docker has it: `-v SOURCE:TARGET[:ro]` and `--mount type=bind,…`."""

from __future__ import annotations

import os
from collections.abc import Iterator

from netfab.errors import NetfabError

_KEYS = {"type": "type"} | dict.fromkeys(("source", "src"), "source")
_KEYS |= dict.fromkeys(("target", "dst", "destination"), "target")
_KEYS |= dict.fromkeys(("readonly", "ro"), "readonly")
_YES, _NO = ("", "true", "1"), ("false", "0")
_RIGHT = "--mount type=bind,source=/here,target=/there[,readonly]"


def mounts_of(volumes: tuple[str, ...], mounts: tuple[str, ...]) -> Iterator[str]:
    """As in a topology file, relative to the working directory. Raises NetfabError."""
    for text in (*volumes, *map(_mount, mounts)):
        yield os.path.abspath(text) if text[:1] == "." else text


def _mount(text: str) -> str:
    fields = dict(map(_field, text.split(",")))
    kind = fields.get("type", "volume")  # docker's default
    if kind == "tmpfs":
        raise NetfabError(
            "--mount: docker's type=tmpfs is not here",
            hint="what it writes is its own and goes with it; with --read-only, show it a directory",
        )
    if kind != "bind":
        raise NetfabError(
            f"--mount: type={kind} is not here; volumes are directories and files of the host", hint=_RIGHT
        )
    if not fields.get("source") or not fields.get("target"):
        raise NetfabError(f"--mount: `{text}` lacks a source or a target", hint=_RIGHT)
    if ":" in fields["source"] + fields["target"]:
        raise NetfabError(f"--mount: `{text}` has a colon in a path", hint="show the directory that it is in")
    return f"{fields['source']}:{fields['target']}:{'ro' if _is_set(fields.get('readonly', '0')) else 'rw'}"


def _field(text: str) -> tuple[str, str]:
    key, _, value = text.strip().partition("=")
    if key not in _KEYS:
        raise NetfabError(f"--mount: docker's `{key}` is not here", hint=_RIGHT)
    return _KEYS[key], value


def _is_set(value: str) -> bool:
    if value not in _YES + _NO:
        raise NetfabError(f"--mount: readonly is true or false, not `{value}`", hint=_RIGHT)
    return value in _YES
