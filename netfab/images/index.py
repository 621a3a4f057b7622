"""Which images there are, and what they are called: one small file, replaced as a whole.

What it names is whole: blobs and layers are written first, and removed after. A name is a registry's
(`docker.io/library/alpine:3.20` as people write it: `alpine:3.20`), or `NAME@sha256:…`.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

from netfab.errors import NetfabError
from netfab.images.layout import Layout
from netfab.system.flock import wait_for
from netfab.system.replace import replace_for_good
from netfab.tuples import NamedTuple


class Known(NamedTuple):
    """An image that is here."""

    manifest: str  # its digest
    layers: tuple[str, ...]  # diff ids, lowest first
    size: int  # bytes of its layers' tars
    created: str  # RFC 3339, from its config; "": not given there


class File(NamedTuple):
    """An archive's state when it was loaded: while it is unchanged, it need not be read again."""

    device: int
    inode: int
    size: int
    changed: int  # modification time, in nanoseconds
    id: str


class Index(NamedTuple):
    """The whole index, to be changed in place."""

    images: dict[str, Known]  # by id
    names: dict[str, str]  # name -> id
    files: dict[str, File]  # source -> file

    def names_of(self, image: str) -> list[str]:
        """All names of an image."""
        return [name for name, known in self.names.items() if known == image]


def read(layout: Layout) -> Index:
    """The current index; an empty one if there is none. Raises NetfabError."""
    try:
        with open(layout.index_file, encoding="utf-8") as file:
            data = json.load(file)
        return Index(
            {
                key: Known(manifest, tuple(layers), *rest)
                for key, (manifest, layers, *rest) in data["images"].items()
            },
            dict(data["names"]),
            {key: File(*value) for key, value in data["files"].items()},
        )
    except FileNotFoundError:
        return Index({}, {}, {})
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise NetfabError(
            f"{layout.index_file} can't be read: {error}",
            hint=f"remove {layout.root} when nothing runs from it, and pull again",
        ) from error


@contextmanager
def changing(layout: Layout) -> Iterator[Index]:
    """The index, to be changed in the block; stored if that succeeds. Raises NetfabError."""
    with _locked(layout):
        index = read(layout)
        yield index
        try:
            replace_for_good(layout.index_file, json.dumps(index._asdict()))
        except OSError as error:
            raise NetfabError(f"{layout.index_file}: {error.strerror}") from error


@contextmanager
def _locked(layout: Layout) -> Iterator[None]:
    try:
        fd = os.open(layout.index_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise NetfabError(f"{layout.index_lock}: {error.strerror}") from error
    try:
        wait_for(fd, fcntl.LOCK_EX, _patient)
        yield
    finally:
        os.close(fd)


def _patient() -> None:
    """Wait without limit: the lock is held for milliseconds, and only by running processes."""
