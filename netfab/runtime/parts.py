"""Copying files in parts: read at one end, written at the other, which may be on another host.

Neither end can be led elsewhere: each name is opened by itself, through its directory's descriptor and
without following links. No special file is opened or made, and set-user-ID bits are dropped. The writer
trusts nothing about a part but that it is one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from types import TracebackType

from netfab.errors import NetfabError
from netfab.runtime.places import Entry
from netfab.tuples import NamedTuple

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 18  # bytes
_DEEPEST = 200  # nesting depth of directories

KINDS = (
    "content",  # what is in a directory, without the directory itself
    "directory",
    "file",
    "data",  # of the preceding file
    "link",
    "other",  # left out
)


class Part(NamedTuple):
    """One of KINDS; a directory is followed by its content."""

    kind: str
    path: tuple[str, ...] = ()  # components, relative to what is copied
    mode: int = 0
    accessed: int = 0  # ns
    modified: int = 0
    data: bytes = b""
    target: str = ""  # of a link


def parts(source: Entry) -> Iterator[Part]:
    """A file, a link, or a directory with its content. Raises OSError, NetfabError."""
    if source.name == ".":
        yield Part("content")
        yield from _content(source.directory, ())
    else:
        yield from _entry(source, ())


def _content(directory: int, path: tuple[str, ...]) -> Iterator[Part]:
    if len(path) > _DEEPEST:
        raise NetfabError(f"more than {_DEEPEST} directories lie within each other")
    listed = os.open(".", _DIRECTORY, dir_fd=directory)  # an O_PATH descriptor can't be listed
    try:
        for name in sorted(os.listdir(listed)):
            yield from _entry(Entry(listed, name), (*path, name))
    finally:
        os.close(listed)


def _entry(source: Entry, path: tuple[str, ...]) -> Iterator[Part]:
    found = os.stat(source.name, dir_fd=source.directory, follow_symlinks=False)
    if stat.S_ISDIR(found.st_mode):
        inner = os.open(source.name, _DIRECTORY, dir_fd=source.directory)
        try:
            yield _described("directory", path, os.fstat(inner))
            yield from _content(inner, path)
        finally:
            os.close(inner)
    elif stat.S_ISREG(found.st_mode):
        yield from _file(source, path)
    elif stat.S_ISLNK(found.st_mode):
        yield Part("link", path, target=os.readlink(source.name, dir_fd=source.directory))
    else:
        yield Part("other", (source.name,))


def _file(source: Entry, path: tuple[str, ...]) -> Iterator[Part]:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    opened = os.open(source.name, flags, dir_fd=source.directory)
    try:
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode):  # it was replaced meanwhile
            yield Part("other", (source.name,))
            return
        yield _described("file", path, found)
        while data := os.read(opened, _CHUNK):
            yield Part("data", data=data)
    finally:
        os.close(opened)


def _described(kind: str, path: tuple[str, ...], found: os.stat_result) -> Part:
    return Part(kind, path, stat.S_IMODE(found.st_mode) & 0o777, found.st_atime_ns, found.st_mtime_ns)


class Writer:
    """Writes parts, replacing what has their names. A transfer that breaks off leaves what was written."""

    def __init__(self, target: Entry, owner: tuple[int, int] | None) -> None:
        """`owner` None: the caller."""
        self._target, self._owner = target, owner
        self._directories: list[tuple[int, Part]] = []  # the open ones, outermost first
        self._file: tuple[int, Part] | None = None
        self.left_out: list[str] = []

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        opened = [*self._directories, *([self._file] if self._file else ())]
        self._directories, self._file = [], None
        for fd, _ in opened:
            os.close(fd)

    def take(self, part: Part) -> None:
        """Write the next part. Raises OSError; ValueError for one that can't come next."""
        if part.kind == "data":
            self._write(part.data)
            return
        self._finish_file()
        if part.kind == "other":
            self.left_out.append(part.path[-1] if part.path else "")
            return
        place = self._place(part.path)
        if part.kind == "content":
            self._fill(place, part)
        elif part.kind == "directory":
            self._make_directory(place)
            self._fill(place, part)
        elif part.kind == "file":
            self._make_file(place, part)
        else:
            _make_way(place)
            os.symlink(part.target, place.name, dir_fd=place.directory)
            self._own(place)

    def finish(self) -> list[str]:
        """After the last part: the names of what is no file, directory or link. Raises OSError."""
        self._finish_file()
        self._leave(0)
        return self.left_out

    def _place(self, path: tuple[str, ...]) -> Entry:
        """Where a part goes: into the current directory, or in place of everything."""
        if any(name in ("", ".", "..") or "/" in name for name in path):
            raise ValueError(f"{path} leads elsewhere")
        if len(path) > len(self._directories) or len(path) > _DEEPEST:
            raise ValueError(f"{path} comes before its directory")
        self._leave(len(path))
        above = tuple(part.path[-1] for _, part in self._directories if part.path)
        if path[:-1] != above:
            raise ValueError(f"{path} comes after its directory")
        return Entry(self._directories[-1][0], path[-1]) if path else self._target

    def _fill(self, place: Entry, part: Part) -> None:
        if part.kind == "content" and place.name != ".":
            self._make_directory(place)
        self._directories.append((os.open(place.name, _DIRECTORY, dir_fd=place.directory), part))

    def _leave(self, depth: int) -> None:
        """Close the directories that are complete, and set their modes and times."""
        while len(self._directories) > depth:
            fd, part = self._directories.pop()
            try:
                if part.kind == "directory":
                    _describe(fd, part)
            finally:
                os.close(fd)

    def _make_directory(self, place: Entry) -> None:
        try:
            os.mkdir(place.name, 0o755, dir_fd=place.directory)
        except FileExistsError:
            return
        self._own(place)

    def _make_file(self, place: Entry, part: Part) -> None:
        _make_way(place)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        self._file = os.open(place.name, flags, 0o600, dir_fd=place.directory), part

    def _write(self, data: bytes) -> None:
        if self._file is None:
            raise ValueError("data of no file")
        left = memoryview(data)
        while left:
            left = left[os.write(self._file[0], left) :]

    def _finish_file(self) -> None:
        if self._file is None:
            return
        (fd, part), self._file = self._file, None
        try:
            if self._owner is not None:
                os.fchown(fd, *self._owner)
            _describe(fd, part)
        finally:
            os.close(fd)

    def _own(self, place: Entry) -> None:
        if self._owner is not None:
            os.chown(place.name, *self._owner, dir_fd=place.directory, follow_symlinks=False)


def _describe(fd: int, part: Part) -> None:
    os.fchmod(fd, part.mode & 0o777)
    os.utime(fd, ns=(part.accessed, part.modified))


def _make_way(place: Entry) -> None:
    """Remove what has that name. Raises IsADirectoryError if that is a directory."""
    try:
        os.unlink(place.name, dir_fd=place.directory)
    except FileNotFoundError:
        return
