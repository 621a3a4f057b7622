"""Files and directories with images in them: told apart, opened, and taken in.

Each shows what it is: an OCI layout has an `oci-layout`, what `docker save` writes has a manifest.json, and
any other tar is a root file system.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from netfab.errors import NetfabError
from netfab.images.archives import (
    Archive,
    Directory,
    FileSupply,
    Found,
    diff_id_of,
    of_docker,
    of_oci,
    of_root,
)
from netfab.images.config import BadImage
from netfab.images.index import File, changing, read
from netfab.images.ingest import about, take
from netfab.images.layout import Image, Layout, image_of
from netfab.images.locks import using
from netfab.images.naming import named
from netfab.images.removal import leaving_nothing
from netfab.images.streams import compression_of, pieces_of
from netfab.topology.grammar import Wrong
from netfab.topology.image import Source, reference

if TYPE_CHECKING:
    from netfab.images import Place

_OTHER_COMPRESSIONS = {b"\xfd7zX": "xz", b"BZh9": "bzip2"}


def load(place: Place, source: Source) -> Image:
    """Load the only image of the file or directory, or the one of that name. Raises NetfabError."""
    with leaving_nothing(place), using(place) as layout:
        known = already_loaded(layout, source)
        if known is not None:
            return known
        with about(str(source)), opened(layout, source) as (found, stamp):
            wanted = _one_of(found, source)
            image = take(place, layout, FileSupply(wanted), (), str(source))  # without changing names
        with changing(layout) as index:
            if stamp is not None:
                index.files[str(source)] = stamp._replace(id=image)
        return _whole(layout, image)


def load_all(place: Place, path: str) -> list[tuple[str, list[str]]]:
    """Load every image of an archive, as `docker load` does; their ids, and their names now.

    `-`: standard input. Raises NetfabError; BadImage for the tar of a root file system.
    """
    with (
        leaving_nothing(place),
        using(place) as layout,
        about(path),
        opened(layout, Source("path", path)) as (found, _),
    ):
        if any(one.is_root for one in found):
            raise BadImage(
                "this is not an archive of images", hint="`netfab import` takes a root file system"
            )
        done = []
        for one in found:
            names = _names(one, place)
            done.append((take(place, layout, FileSupply(one), names, ", ".join(names) or path), names))
        return done


def import_root(place: Place, path: str, name: str, config: Mapping[str, Any]) -> str:
    """Import the tar of a root file system as an image; its id. `-`: standard input. Raises NetfabError."""
    with leaving_nothing(place), using(place) as layout, about(path), _file(layout, path) as file:
        found = of_root(file, diff_id_of(file), config)
        return take(place, layout, FileSupply(found), [str(named(name))] if name else [], path)


def already_loaded(layout: Layout, source: Source) -> Image | None:
    """The image that was loaded from the file, if it has not changed since."""
    known = read(layout).files.get(str(source))
    if known is None or known != stamp_of(source)._replace(id=known.id):
        return None
    return image_of(layout.state, known.id)


def stamp_of(source: Source) -> File:
    """The file's stamp, which tells whether it changed. Raises NetfabError if there is no such file."""
    path = source.place
    if source.kind != "docker-archive" and os.path.exists(f"{path}/index.json"):
        path = f"{path}/index.json"
    try:
        found = os.stat(path)
    except OSError as error:
        raise NetfabError(f"{source.place}: {error.strerror}") from error
    return File(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, "")


@contextmanager
def opened(layout: Layout, source: Source) -> Iterator[tuple[Sequence[Found], File | None]]:
    """The images in a file or directory, and its stamp. Raises NetfabError."""
    if source.place != "-" and os.path.isdir(source.place):
        if source.kind not in ("oci", "path"):
            raise BadImage(f"this is a directory, and no {source.kind}")
        yield list(of_oci(Directory(source.place))), stamp_of(source)
        return
    if source.kind == "oci":
        raise BadImage("this is not a directory", hint=f"write `oci-archive:{source.place}` for a file")
    stamp = None if source.place == "-" else stamp_of(source)
    with _file(layout, source.place) as file, _plain(layout, file) as plain:
        yield _images_in(file, plain, source), stamp


def _images_in(file: IO[bytes], plain: IO[bytes], source: Source) -> Sequence[Found]:
    plain.seek(0)
    archive = Archive(plain)
    if source.kind == "docker-archive" or (source.kind == "path" and "manifest.json" in archive.names):
        return list(of_docker(archive))
    if source.kind == "oci-archive" or "oci-layout" in archive.names:
        return list(of_oci(archive))
    return [of_root(file, diff_id_of(plain), {})]


@contextmanager
def _file(layout: Layout, path: str) -> Iterator[IO[bytes]]:
    """The open file; for standard input a copy. Raises OSError, BadImage."""
    if path == "-":
        with tempfile.TemporaryFile(dir=layout.root) as copy:
            while piece := sys.stdin.buffer.read(1 << 20):
                copy.write(piece)
            copy.seek(0)
            yield copy
        return
    with open(path, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise BadImage("this is not a regular file", hint="`-` reads standard input, which may be a pipe")
        yield file


@contextmanager
def _plain(layout: Layout, file: IO[bytes]) -> Iterator[IO[bytes]]:
    """The uncompressed file: itself, or a copy."""
    start = os.pread(file.fileno(), 4, 0)
    if start in _OTHER_COMPRESSIONS:
        raise BadImage(
            f"this file is compressed by {_OTHER_COMPRESSIONS[start]}", hint="gzip and zstd are known"
        )
    if not compression_of(start):
        yield file
        return
    with tempfile.TemporaryFile(dir=layout.root) as copy:
        file.seek(0)
        for piece in pieces_of(file):
            copy.write(piece)
        copy.flush()
        yield copy


def _one_of(found: Sequence[Found], source: Source) -> Found:
    wanted = [one for one in found if not source.which or _is_called(one, source.which)]
    if len(wanted) == 1:
        return wanted[0]
    names = ", ".join(name for one in found for name in one.names) or "no names"
    what = f"no image {source.which}" if source.which else f"not one image but {len(found)}"
    raise BadImage(f"there is {what}", hint=f"say which, after a colon; there: {names}")


def _is_called(one: Found, which: str) -> bool:
    """Whether the names are equal, as written or in full: `alpine` and `docker.io/library/alpine:latest`."""
    try:
        return which in one.names or reference(which) in [reference(name) for name in one.names]
    except Wrong:
        return False


def _names(one: Found, place: Place) -> list[str]:
    """The names for it here. A layout often has only a tag, which is no name."""
    names = []
    for name in one.names:
        if "/" in name or ":" in name:
            try:
                names.append(str(reference(name)))
            except Wrong as wrong:
                place.say(f"{wrong}: that name is left out")
    return names


def _whole(layout: Layout, image: str) -> Image:
    found = image_of(layout.state, image)
    assert found is not None, "what was taken in just now is here"
    return found
