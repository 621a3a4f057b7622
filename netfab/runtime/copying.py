"""Copying files into and out of a container that runs, whose files may be made to lead us elsewhere.

Paths of the container are resolved below a descriptor of its root; each name is then opened by itself,
through its directory's descriptor and without following. Nothing of the container is loaded or executed
(CVE-2019-14271), no special file opened or made, no set-user-ID bit taken along.
"""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack

from netfab.errors import NetfabError
from netfab.system.mounts import open_below
from netfab.system.trees import IN_ROOT
from netfab.tuples import NamedTuple

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 20
_DEEPEST = 200  # directories within each other


class Entry(NamedTuple):
    """A name in a directory that is open; "." is the directory itself, and what is in it."""

    directory: int
    name: str


def in_container(root: int, path: str, closing: ExitStack) -> Entry:
    """A path of the container; its last part, which need not exist, is not followed. Raises OSError."""
    parent, name = _split(path)
    directory = open_below(root, parent.strip("/") or ".", os.O_PATH | os.O_DIRECTORY, IN_ROOT)
    closing.callback(os.close, directory)
    return Entry(directory, name)


def on_host(path: str, closing: ExitStack) -> Entry:
    """A path of this host's, as it is anywhere. Raises OSError."""
    parent, name = _split(path)
    directory = os.open(parent or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    closing.callback(os.close, directory)
    return Entry(directory, name)


def _split(path: str) -> tuple[str, str]:
    """A directory, and a name in it; `x/.`, `..` and `/` are directories whose content is meant."""
    stripped = path.rstrip("/")
    parent, _, name = stripped.rpartition("/")
    if name in ("", ".", ".."):
        return stripped or "/", "."
    return parent or ("/" if stripped.startswith("/") else ""), name


def place_in_container(root: int, path: str, name: str, closing: ExitStack) -> Entry:
    """Where what has that name goes: into the path where that leads to a directory, else in its place."""
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
    try:
        directory = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        if path.endswith("/"):
            raise
        return on_host(path, closing)
    closing.callback(os.close, directory)
    return Entry(directory, name)


def copy(source: Entry, target: Entry, owner: tuple[int, int] | None) -> list[str]:
    """Copy a file, a link or a whole directory, in place of what has its name. `owner`: None: the caller.

    The names of what is none of these, and was left out. Raises OSError, NetfabError.
    """
    job = _Job(owner)
    if source.name == "." and target.name != ".":
        job.make_directory(target)
        inner = os.open(target.name, _DIRECTORY, dir_fd=target.directory)
        try:
            job.content(source.directory, inner, 0)
        finally:
            os.close(inner)
    elif source.name == ".":
        job.content(source.directory, target.directory, 0)
    else:
        job.entry(source, target, 0)
    return job.skipped


class _Job:
    def __init__(self, owner: tuple[int, int] | None) -> None:
        self._owner = owner
        self.skipped: list[str] = []

    def entry(self, source: Entry, target: Entry, depth: int) -> None:
        found = os.stat(source.name, dir_fd=source.directory, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            self._directory(source, target, found, depth)
        elif stat.S_ISREG(found.st_mode):
            self._file(source, target)
        elif stat.S_ISLNK(found.st_mode):
            text = os.readlink(source.name, dir_fd=source.directory)
            _make_way(target)
            os.symlink(text, target.name, dir_fd=target.directory)
            self._own(target)
        else:
            self.skipped.append(source.name)

    def content(self, source: int, target: int, depth: int) -> None:
        if depth > _DEEPEST:
            raise NetfabError(f"more than {_DEEPEST} directories lie within each other")
        listed = os.open(".", _DIRECTORY, dir_fd=source)  # what is only O_PATH can't be listed
        try:
            for name in sorted(os.listdir(listed)):
                self.entry(Entry(listed, name), Entry(target, name), depth + 1)
        finally:
            os.close(listed)

    def _directory(self, source: Entry, target: Entry, found: os.stat_result, depth: int) -> None:
        with ExitStack() as closing:
            inner = os.open(source.name, _DIRECTORY, dir_fd=source.directory)
            closing.callback(os.close, inner)
            self.make_directory(target)
            made = os.open(target.name, _DIRECTORY, dir_fd=target.directory)
            closing.callback(os.close, made)
            self.content(inner, made, depth)
            os.fchmod(made, stat.S_IMODE(found.st_mode) & 0o777)
            os.utime(made, ns=(found.st_atime_ns, found.st_mtime_ns))

    def make_directory(self, target: Entry) -> None:
        try:
            os.mkdir(target.name, 0o755, dir_fd=target.directory)
        except FileExistsError:
            return
        self._own(target)

    def _file(self, source: Entry, target: Entry) -> None:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with ExitStack() as closing:
            opened = os.open(source.name, flags, dir_fd=source.directory)
            closing.callback(os.close, opened)
            found = os.fstat(opened)
            if not stat.S_ISREG(found.st_mode):  # it was swapped
                self.skipped.append(source.name)
                return
            _make_way(target)
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
            made = os.open(target.name, flags, 0o600, dir_fd=target.directory)
            closing.callback(os.close, made)
            while data := os.read(opened, _CHUNK):
                left = memoryview(data)
                while left:
                    left = left[os.write(made, left) :]
            if self._owner is not None:
                os.fchown(made, *self._owner)
            os.fchmod(made, stat.S_IMODE(found.st_mode) & 0o777)
            os.utime(made, ns=(found.st_atime_ns, found.st_mtime_ns))

    def _own(self, target: Entry) -> None:
        if self._owner is not None:
            os.chown(target.name, *self._owner, dir_fd=target.directory, follow_symlinks=False)


def _make_way(target: Entry) -> None:
    """Remove what has that name. Raises IsADirectoryError where that is a directory."""
    try:
        os.unlink(target.name, dir_fd=target.directory)
    except FileNotFoundError:
        return
