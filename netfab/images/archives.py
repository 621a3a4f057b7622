"""Images in files and directories: docker-archive, OCI archive and layout, and the tar of a root file system.

Each becomes a Supply, as a registry is one. An image that comes without a manifest gets one here, the same
each time. What is compressed, or comes through a pipe, must be in a file first: loading.py does that.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tarfile
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import IO, Any, Protocol

from netfab.images.blobs import Part, digest_of
from netfab.images.config import BadImage
from netfab.images.headers import BAD_TAR
from netfab.images.layout import MOST, hex_of
from netfab.images.manifests import (
    ARCHITECTURES,
    Descriptor,
    Manifest,
    for_machine,
    layer_type,
    manifest_of,
    parse,
)
from netfab.images.streams import HEADERS, Stream, compression_of
from netfab.tuples import NamedTuple

_PIECE = 1 << 20  # bytes
_LINKS = 8  # symlinks to follow to a file


class Files(Protocol):
    """Names and contents."""

    def size(self, name: str) -> int | None:
        """Bytes; None if there is no such file."""

    def pieces(self, name: str, start: int = 0) -> Iterator[bytes]:
        """The content from `start` on."""


class OneFile:
    """An open file, under any name."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def size(self, name: str) -> int | None:
        return os.fstat(self._file.fileno()).st_size

    def pieces(self, name: str, start: int = 0) -> Iterator[bytes]:
        while piece := os.pread(self._file.fileno(), _PIECE, start):
            start += len(piece)
            yield piece


class Directory:
    """The files of a directory, as an OCI layout has them."""

    def __init__(self, path: str) -> None:
        self._path = path

    def size(self, name: str) -> int | None:
        try:
            found = os.stat(f"{self._path}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None  # a pipe or a device may have no end

    def pieces(self, name: str, start: int = 0) -> Iterator[bytes]:
        with open(f"{self._path}/{name}", "rb", buffering=0) as file:
            file.seek(start)
            yield from iter(lambda: file.read(_PIECE), b"")


class _Frugal:
    """A wrapper through which tarfile reads headers: none may be huge, or lead backwards."""

    def __init__(self, file: IO[bytes]) -> None:
        self.tell, self._file = file.tell, file
        self._read = 0  # bytes since the last seek

    def seek(self, position: int) -> None:
        if position < self.tell():
            raise BadImage("this archive leads back to where it came from")
        self._read = 0
        self._file.seek(position)

    def read(self, size: int) -> bytes:
        self._read += size
        if size < 0 or self._read > HEADERS:
            raise BadImage(f"this archive has a header of {size if size < 0 else self._read} bytes")
        return self._file.read(size)


class Archive:
    """The files of an uncompressed tar. Raises BadImage if it is no tar."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._members: dict[str, tuple[int, int]] = {}  # name -> offset, size
        self._links: dict[str, str] = {}
        try:
            headers = _Frugal(file)
            source: Any = headers
            with tarfile.open(fileobj=source, mode="r:") as tar:
                while (found := tar.next()) is not None:
                    self._note(found)
                    headers.seek(tar.offset)
                    tar.members.clear()  # type: ignore[attr-defined]  # tarfile would keep them all
        except BAD_TAR as error:
            raise BadImage(f"this is not an archive: {error}") from error

    @property
    def names(self) -> Collection[str]:
        """All files that are not links."""
        return self._members.keys()

    def _note(self, found: tarfile.TarInfo) -> None:
        name = os.path.normpath(found.name)
        if found.isreg():
            self._members[name] = found.offset_data, found.size
        elif found.issym():  # how older versions of docker save a layer that occurs twice
            self._links[name] = os.path.normpath(os.path.join(os.path.dirname(name), found.linkname))
        elif found.islnk():
            self._links[name] = os.path.normpath(found.linkname)

    def _find(self, name: str) -> tuple[int, int] | None:
        name = os.path.normpath(name)
        for _ in range(_LINKS):
            name = self._links.get(name, name)
        return self._members.get(name)

    def size(self, name: str) -> int | None:
        found = self._find(name)
        return None if found is None else found[1]

    def pieces(self, name: str, start: int = 0) -> Iterator[bytes]:
        found = self._find(name)
        if found is None:
            raise BadImage(f"this archive has no {name}")
        offset, size = found
        while start < size:
            piece = os.pread(self._file.fileno(), min(_PIECE, size - start), offset + start)
            if not piece:
                raise BadImage("this archive is truncated")
            start += len(piece)
            yield piece


class Found(NamedTuple):
    """An image in an archive."""

    names: tuple[str, ...]  # in the archive
    manifest: Manifest
    text: bytes  # of the manifest
    files: Files
    places: Mapping[str, str]  # digest of a blob -> the name of its file
    small: Mapping[str, bytes]  # digest -> content of blobs that are in no file
    is_root: bool = False  # made from a root file system


class FileSupply:
    """A Supply of an image in an archive."""

    def __init__(self, found: Found) -> None:
        self.manifest, self.text = found.manifest, found.text
        self._found = found

    def fetch(self, blob: Descriptor, part: Part, told: Callable[[int], None]) -> None:
        """Copy the blob, without reuse of an earlier attempt: it takes no network."""
        part.restart()
        small = self._found.small.get(blob.digest)
        if small is not None:
            part.write(iter([small]), told)
        else:
            name = self._found.places.get(blob.digest, f"blobs/sha256/{hex_of(blob.digest)}")
            if self._found.files.size(name) is None:
                raise BadImage(f"this archive has no {name}")
            part.write(self._found.files.pieces(name), told)
        part.finish()


def of_docker(files: Files) -> Iterator[Found]:
    """Every image of `docker save`: manifest.json names each one's config and layers."""
    said = _json(files, "manifest.json")
    if not isinstance(said, list):
        raise BadImage("this archive's manifest.json is invalid")
    for entry in said:
        try:
            names, layers = tuple(map(str, entry["RepoTags"] or ())), list(map(str, entry["Layers"] or ()))
            config = _read(files, str(entry["Config"]))
        except (LookupError, TypeError, AttributeError) as error:
            raise BadImage(f"this archive's manifest.json has no {error}") from error
        blobs = {layer: _descriptor(files, layer) for layer in dict.fromkeys(layers)}
        yield _made(
            names,
            config,
            [blobs[layer] for layer in layers],
            files,
            {blob.digest: layer for layer, blob in blobs.items()},
        )


def of_oci(files: Files) -> Iterator[Found]:
    """Every image of an OCI layout for this machine (image-layout.md)."""
    _json(files, "oci-layout")
    choices = parse(_read(files, "index.json"), "application/vnd.oci.image.index.v1+json")
    if isinstance(choices, Manifest):
        raise BadImage("this layout's index.json is a manifest")
    by_name: dict[str, list[Any]] = {}
    for choice in choices:
        by_name.setdefault(choice.name, []).append(choice)
    for name, several in by_name.items():
        blob = for_machine(several, os.uname().machine)
        text = _blob(files, blob)
        found = parse(text, blob.media_type)
        if not isinstance(found, Manifest):
            text = _blob(files, for_machine(found, os.uname().machine))
            found = parse(text)
        if not isinstance(found, Manifest):
            raise BadImage("this layout has an index that leads to another index")
        yield Found((name,) if name else (), found, text, files, {}, {})


def of_root(file: IO[bytes], diff_id: str, config: Mapping[str, Any]) -> Found:
    """The tar of a root file system, compressed or not, as an image of one layer."""
    files = OneFile(file)
    layer = _descriptor(files, "")
    made = {
        "architecture": ARCHITECTURES.get(os.uname().machine, os.uname().machine),
        "config": dict(config),
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    }
    text = json.dumps(made, separators=(",", ":"), sort_keys=True).encode()
    return _made((), text, [layer], files, {layer.digest: ""})._replace(is_root=True)


def _made(
    names: tuple[str, ...], config: bytes, layers: list[Descriptor], files: Files, places: Mapping[str, str]
) -> Found:
    """An image that came without a manifest, which is generated."""
    text = manifest_of(config, layers)
    manifest = parse(text)
    assert isinstance(manifest, Manifest)
    return Found(names, manifest, text, files, places, {digest_of(config): config})


def _descriptor(files: Files, name: str) -> Descriptor:
    """The descriptor of a layer that is known by its file's name."""
    size = files.size(name)
    if size is None:
        raise BadImage(f"this archive has no {name}")
    digest, start = hashlib.sha256(), b""
    for piece in files.pieces(name):
        start = start or piece[:4]
        digest.update(piece)
    return Descriptor(f"sha256:{digest.hexdigest()}", size, layer_type(compression_of(start)))


def _blob(files: Files, blob: Descriptor) -> bytes:
    text = _read(files, f"blobs/sha256/{hex_of(blob.digest)}")
    if digest_of(text) != blob.digest:
        raise BadImage(f"what this layout has as {blob.digest} is {digest_of(text)}")
    return text


def _read(files: Files, name: str) -> bytes:
    size = files.size(name)
    if size is None:
        raise BadImage(f"this archive has no {name}")
    if size > MOST:
        raise BadImage(f"{name} in this archive has {size} bytes")
    return b"".join(files.pieces(name))


def _json(files: Files, name: str) -> Any:
    try:
        return json.loads(_read(files, name))
    except (ValueError, RecursionError) as error:
        raise BadImage(f"{name} in this archive is not JSON") from error


def diff_id_of(file: IO[bytes]) -> str:
    """The digest of a tar, which may be compressed."""
    file.seek(0)
    return Stream(file).digest()
