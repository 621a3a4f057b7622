"""Where files are copied from and to: in a running container, which may be hostile, or on a host.

Paths of the container are resolved below a descriptor of its root (CVE-2019-14271). parts.py knows what is
copied, and how.
"""

from __future__ import annotations

import os
from contextlib import ExitStack

from netfab.system.mounts import open_below
from netfab.system.trees import IN_ROOT
from netfab.tuples import NamedTuple


class Entry(NamedTuple):
    """A name in a directory that is open; "." is the directory itself, and what is in it."""

    directory: int
    name: str


def in_container(root: int, path: str, closing: ExitStack) -> Entry:
    """A path in the container; its last part need not exist, and is not followed. Raises OSError."""
    parent, name = _split(path)
    directory = open_below(root, parent.strip("/") or ".", os.O_PATH | os.O_DIRECTORY, IN_ROOT)
    closing.callback(os.close, directory)
    return Entry(directory, name)


def on_host(path: str, closing: ExitStack) -> Entry:
    """The same for a path of this host. Raises OSError."""
    parent, name = _split(path)
    directory = os.open(parent or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    closing.callback(os.close, directory)
    return Entry(directory, name)


def name_of(path: str) -> str:
    """The last component of a path; "." if a directory's content is meant."""
    return _split(path)[1]


def _split(path: str) -> tuple[str, str]:
    """A directory, and a name in it; `x/.`, `..` and `/` mean a directory's content."""
    stripped = path.rstrip("/")
    parent, _, name = stripped.rpartition("/")
    if name in ("", ".", ".."):
        return stripped or "/", "."
    return parent or ("/" if stripped.startswith("/") else ""), name


def place_in_container(root: int, path: str, name: str, closing: ExitStack) -> Entry:
    """Where something of that name is put: into the path if it leads to a directory, else in its place.

    Raises OSError; ValueError for an invalid name.
    """
    _refuse_path(name)
    try:
        directory = open_below(root, path.strip("/") or ".", os.O_PATH | os.O_DIRECTORY, IN_ROOT)
    except (FileNotFoundError, NotADirectoryError):
        if path.endswith("/"):
            raise
        return in_container(root, path, closing)
    closing.callback(os.close, directory)
    return Entry(directory, name)


def place_on_host(path: str, name: str, closing: ExitStack) -> Entry:
    """The same on this host."""
    _refuse_path(name)
    try:
        directory = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        if path.endswith("/"):
            raise
        return on_host(path, closing)
    closing.callback(os.close, directory)
    return Entry(directory, name)


def _refuse_path(name: str) -> None:
    """Raises ValueError for a path that may lead out of its directory."""
    if name in ("", "..") or "/" in name:
        raise ValueError(f"{name!r} leads elsewhere")
