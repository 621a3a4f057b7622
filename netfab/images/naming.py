"""Which image a word means on this host, and what images are called here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from netfab.errors import NetfabError
from netfab.images.index import Index, Known, changing, read
from netfab.images.layout import Layout, read_config
from netfab.images.locks import using
from netfab.topology.grammar import Wrong
from netfab.topology.image import Reference, reference
from netfab.topology.suggest import did_you_mean
from netfab.tuples import NamedTuple

if TYPE_CHECKING:
    from netfab.images import Place

_SHORTEST_ID = 4  # digits


class NoImage(NetfabError):
    """There is no such image on this host."""

    def __init__(self, word: str, names: list[str]) -> None:
        hint = did_you_mean(word, names) or "`netfab images` lists those that are"
        super().__init__(f"there is no image {word} on this host", hint=hint)


def named(text: str) -> Reference:
    """The reference for a name in a registry. Raises NetfabError."""
    try:
        return reference(text)
    except Wrong as wrong:
        raise NetfabError(str(wrong)) from wrong


def key_of(meant: Reference) -> str:
    """Its name in the index: with a digest, without the tag."""
    return str(meant._replace(tag="") if meant.digest else meant)


def id_of(index: Index, word: str) -> str | None:
    """The id of the image with that name, or id prefix; None if there is none.

    Raises NetfabError for a prefix of several.
    """
    try:
        found = index.names.get(key_of(reference(word)))
    except Wrong:
        found = None
    digits = word.removeprefix("sha256:")
    if found or not re.fullmatch(f"[0-9a-f]{{{_SHORTEST_ID},64}}", digits):
        return found
    several = [image for image in index.images if image.startswith(f"sha256:{digits}")]
    if len(several) > 1:
        raise NetfabError(f"{word} is the beginning of {len(several)} images' ids")
    return several[0] if several else None


def known_id(index: Index, word: str) -> str:
    """The same. Raises NoImage if there is none."""
    found = id_of(index, word)
    if found is None:
        raise NoImage(word, list(index.names))
    return found


def tag(where: Place, word: str, name: str) -> None:
    """Add a name to an image. Raises NetfabError."""
    wanted = named(name)
    if wanted.digest:
        raise NetfabError(f"{name}: a digest can't be a name")
    with using(where) as layout, changing(layout) as index:
        index.names[str(wanted)] = known_id(index, word)


def described(where: Place, word: str) -> dict[str, Any] | None:
    """All that is known of an image, as plain data; None if there is none. Raises NetfabError."""
    layout = Layout(where.state)
    index = read(layout)
    found = id_of(index, word)
    config = None if found is None else read_config(layout, found)
    if found is None or config is None:
        return None
    known = index.images[found]
    data = {"id": found, "names": index.names_of(found), "manifest": known.manifest, "size": known.size}
    return {**data, "layers": known.layers, "config": config}


class Listed(NamedTuple):
    """One line of `netfab images`."""

    repository: str  # "": it has no name
    tag: str
    digest: str  # of what the registry has; "": not from a registry
    id: str
    created: str  # RFC 3339, or ""
    size: int  # bytes, unpacked


def images(where: Place) -> list[Listed]:
    """All images of this host, the newest first. Raises NetfabError."""
    index = read(Layout(where.state))
    found = [line for image, known in index.images.items() for line in _lines(index, image, known)]
    return sorted(found, key=lambda line: (line.created, line.repository, line.tag), reverse=True)


def called(where: Place) -> dict[str, str]:
    """The first tagged name of each image, by its id. Raises NetfabError."""
    return {line.id: f"{line.repository}:{line.tag}" for line in reversed(images(where)) if line.tag}


def _lines(index: Index, image: str, known: Known) -> list[Listed]:
    """One line for each name; an image pulled by digest only has no tag."""
    means = [reference(name) for name in index.names_of(image)]
    digests = {meant.repository_name: meant.digest for meant in means if meant.digest}
    tagged = [(meant.repository_name, meant.tag) for meant in means if meant.tag]
    untagged = [(name, "") for name in digests.keys() - dict(tagged).keys()]
    return [
        Listed(name, label, digests.get(name, ""), image, known.created, known.size)
        for name, label in (*tagged, *untagged) or [("", "")]
    ]
