"""Images for tests: layers from a few words, and what they make when they are unpacked."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from netfab.images.blobs import digest_of
from netfab.images.manifests import Descriptor, layer_type, manifest_of
from netfab.images.streams import Stream
from netfab.images.unpack import unpack

BUSYBOX = Path("/bin/busybox").read_bytes()
SPARSE = {
    "GNU.sparse.major": "1",
    "GNU.sparse.minor": "0",
    "GNU.sparse.realsize": "5",
}  # the map is in the file
Entry = tuple[tarfile.TarInfo, bytes]


def file(name: str, data: bytes = b"", **fields: Any) -> Entry:
    """A plain file; `xattrs` and any field of a TarInfo."""
    return _entry(name, tarfile.REGTYPE, data, **fields)


def directory(name: str, **fields: Any) -> Entry:
    return _entry(name, tarfile.DIRTYPE, **{"mode": 0o755, **fields})


def symlink(name: str, target: str, **fields: Any) -> Entry:
    return _entry(name, tarfile.SYMTYPE, linkname=target, **fields)


def hardlink(name: str, target: str) -> Entry:
    return _entry(name, tarfile.LNKTYPE, linkname=target)


def special(name: str, kind: bytes, **fields: Any) -> Entry:
    """A device or a pipe."""
    return _entry(name, kind, **fields)


def _entry(name: str, kind: bytes, data: bytes = b"", **fields: Any) -> Entry:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data)
    xattrs: Mapping[str, bytes] = fields.pop("xattrs", {})
    info.pax_headers = {
        f"SCHILY.xattr.{key}": value.decode("utf-8", "surrogateescape") for key, value in xattrs.items()
    }
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def layer(*entries: Entry) -> bytes:
    """The tar of these."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def unpacked(root: Path, *layers: bytes) -> Path:
    """A new directory with a layer's files in it."""
    root.mkdir()
    for data in layers:
        stream = Stream(io.BytesIO(data))
        unpack(stream, str(root), lambda: None)
    return root


class Made(NamedTuple):
    """An image as a registry has it: its manifest, and everything by digest."""

    manifest: bytes
    blobs: Mapping[str, bytes]
    id: str

    @property
    def digest(self) -> str:
        return digest_of(self.manifest)


def image(*layers: bytes, compressed: bool = True, **config: Any) -> Made:
    """An image of these tars; `config` as an image's config has it: Cmd=[…]."""
    blobs = [gzip.compress(data, 1, mtime=0) if compressed else data for data in layers]
    kind = layer_type("gzip" if compressed else "")
    said = {
        "architecture": "amd64",
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [digest_of(data) for data in layers]},
    }
    text = json.dumps(said).encode()
    manifest = manifest_of(text, [Descriptor(digest_of(blob), len(blob), kind) for blob in blobs])
    return Made(manifest, {digest_of(blob): blob for blob in (*blobs, text)}, digest_of(text))


def busybox(**config: Any) -> Made:
    """An image with a shell."""
    return image(
        layer(directory("bin"), file("bin/busybox", BUSYBOX, mode=0o755), symlink("bin/sh", "busybox")),
        **{"Cmd": ["sh"], **config},
    )


def write_docker_archive(path: Path, made: Iterable[tuple[str, Made]]) -> Path:
    """What `docker save` would write of these, by name."""
    entries, manifest = [], []
    for name, one in made:
        layers = [blob["digest"] for blob in json.loads(one.manifest)["layers"]]
        entries += [file(digest.removeprefix("sha256:"), data) for digest, data in one.blobs.items()]
        manifest.append({
            "Config": one.id.removeprefix("sha256:"),
            "RepoTags": [name if ":" in name else f"{name}:latest"],
            "Layers": [digest.removeprefix("sha256:") for digest in layers],
        })  # fmt: skip
    path.write_bytes(layer(*entries, file("manifest.json", json.dumps(manifest).encode())))
    return path
