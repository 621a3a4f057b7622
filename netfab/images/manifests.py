"""Manifests and indexes: which blobs an image consists of, and which image is this machine's. Pure.

OCI image-spec (manifest.md, image-index.md), and Docker's schema 2, which differs in its types' names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from netfab.images.blobs import digest_of
from netfab.images.config import DIGEST, MAX_LAYERS, BadImage
from netfab.tuples import NamedTuple

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
MANIFESTS: Final = (OCI_MANIFEST, "application/vnd.docker.distribution.manifest.v2+json")
INDEXES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_COMPRESSED: Final = {"": "", "gzip": "+gzip", "zstd": "+zstd"}
ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_MOST_BYTES: Final = 1 << 40  # of a blob


class Descriptor(NamedTuple):
    """A blob that can be fetched."""

    digest: str
    size: int  # bytes
    media_type: str = ""


class Manifest(NamedTuple):
    """One image."""

    digest: str
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]  # lowest first


class Choice(NamedTuple):
    """One image of an index."""

    image: Descriptor
    architecture: str
    system: str
    name: str  # in an archive


def parse(data: bytes, media_type: str = "") -> Manifest | tuple[Choice, ...]:
    """A manifest, or the images of an index. `media_type`: the one it was served with, if known.

    Raises BadImage, also if it could be read as both (CVE-2021-41190).
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadImage(f"this is not a manifest: {error}") from error
    if not isinstance(found, dict):
        raise BadImage("this is not a manifest")
    said = found.get("mediaType") or media_type
    if found.get("mediaType") and media_type in (*MANIFESTS, *INDEXES) and said != media_type:
        raise BadImage(f"this manifest came as {media_type} and says that it is {said}")
    if ("manifests" in found) == ("layers" in found):
        old = " of Docker's schema 1, which nobody makes any more" if "fsLayers" in found else ""
        raise BadImage(f"this is not a manifest of an image{old}")
    if "manifests" in found:
        if said in MANIFESTS:
            raise BadImage("this index says that it is a manifest")
        return tuple(map(_choice, _list(found, "manifests")))
    if said in INDEXES:
        raise BadImage("this manifest says that it is an index")
    layers = tuple(_descriptor(layer) for layer in _list(found, "layers"))
    if len(layers) > MAX_LAYERS:
        raise BadImage(f"this image has {len(layers)} layers, and Linux stacks {MAX_LAYERS} at most")
    return Manifest(digest_of(data), said or OCI_MANIFEST, _descriptor(found.get("config")), layers)


def _list(found: Mapping[str, Any], key: str) -> list[Any]:
    value = found.get(key)
    if not isinstance(value, list):
        raise BadImage(f"this manifest has no list of {key}")
    return value


def _descriptor(said: Any) -> Descriptor:
    if not isinstance(said, dict):
        raise BadImage("this manifest does not say what it consists of")
    digest, size, media_type = said.get("digest"), said.get("size"), said.get("mediaType", "")
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise BadImage(f"this manifest has a digest that is none: {digest!r}")
    if type(size) is not int or not 0 <= size <= _MOST_BYTES or not isinstance(media_type, str):
        raise BadImage(f"this manifest says of {digest} that it has {size!r} bytes")
    if "encrypted" in media_type:
        raise BadImage("this image is encrypted, which is not supported")
    return Descriptor(digest, size, media_type)


def _choice(said: Any) -> Choice:
    image = _descriptor(said)
    platform, notes = said.get("platform") or {}, said.get("annotations") or {}
    if not isinstance(platform, dict) or not isinstance(notes, dict):
        raise BadImage("this index has a platform that is none")
    name = notes.get("org.opencontainers.image.ref.name", "")
    return Choice(image, str(platform.get("architecture", "")), str(platform.get("os", "")), str(name))


def for_machine(choices: Iterable[Choice], machine: str) -> Descriptor:
    """The image for a machine, as named by uname(1). Raises BadImage."""
    wanted, found = ARCHITECTURES.get(machine, machine), tuple(choices)
    for choice in found:
        if (choice.architecture, choice.system) == (wanted, "linux"):
            return choice.image
    if len(found) == 1 and not found[0].architecture:  # archives often don't tell
        return found[0].image
    others = {
        f"{choice.system}/{choice.architecture}" for choice in found if choice.architecture != "unknown"
    }
    raise BadImage(f"this image is not for linux/{wanted}, but for {', '.join(sorted(others)) or 'nothing'}")


def manifest_of(config: bytes, layers: Iterable[Descriptor]) -> bytes:
    """A manifest for an image that came without one: deterministic."""
    made = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": digest_of(config), "size": len(config)},
        "layers": [{"mediaType": one.media_type, "digest": one.digest, "size": one.size} for one in layers],
    }
    return json.dumps(made, separators=(",", ":")).encode()


def layer_type(compression: str) -> str:
    """The media type of a layer, compressed by gzip, zstd or, "", not at all."""
    return OCI_LAYER + _COMPRESSED[compression]
