"""Removing images: names first, then what nothing names, then layers and blobs that no image has.

Alone with the images: what is being brought, or is about to be used, is not taken away. A kill in the middle
leaves what the next `prune` finds: the index goes first, and it names only what is whole.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from netfab.errors import NetfabError, Unsupported
from netfab.images.config import BadImage
from netfab.images.index import Index, changing, read
from netfab.images.layout import DAMAGED, MOST, Layout, hex_of
from netfab.images.locks import alone, alone_at_once
from netfab.images.manifests import Manifest, parse
from netfab.images.naming import key_of, known_id, named
from netfab.system.trees import remove_tree
from netfab.topology.grammar import Wrong
from netfab.topology.image import reference
from netfab.tuples import NamedTuple

if TYPE_CHECKING:
    from netfab.images import Place


class Removed(NamedTuple):
    """What was removed."""

    untagged: tuple[str, ...]  # names
    deleted: tuple[str, ...]  # ids
    bytes: int  # of disk space


Used = Callable[[], Collection[str]]  # the ids of images in use: called once nobody can start to use one


def remove(where: Place, words: Iterable[str], used: Used, force: bool = False) -> Removed:
    """Remove names, and images with their last name, unless they are `used`.

    An id stands for all of its names; several need `force`. Raises NetfabError, before anything is removed.
    """
    with alone(where) as layout:
        in_use = used()
        with changing(layout) as index:
            untagged, ids = list[str](), dict[str, None]()
            for word in words:
                image = known_id(index, word)
                names = _names_meant(index, word, image)
                if len(names) > 1 and not force and not _is_name(index, word):
                    told = f"{word} is {', '.join(name for name in names if '@' not in name)}"
                    raise NetfabError(told, hint="`netfab rmi` the names, or --force")
                for name in names:
                    del index.names[name]
                untagged += names
                ids[image] = None
            gone = [image for image in ids if not any("@" not in name for name in index.names_of(image))]
            for image in gone:
                if image in in_use:
                    raise NetfabError(
                        f"image {image[7:19]} is used by a fabric",
                        hint="`netfab ps -a` says which; `netfab destroy` it, or `netfab rm` the container",
                    )
                untagged += _forget(index, image)
        return Removed(tuple(untagged), tuple(gone), _sweep(layout, index))


def _is_name(index: Index, word: str) -> bool:
    try:
        return key_of(reference(word)) in index.names
    except Wrong:
        return False


def _names_meant(index: Index, word: str, image: str) -> list[str]:
    """The name that the word is, or all names of the image whose id it is."""
    if _is_name(index, word):
        return [key_of(named(word))]
    return index.names_of(image)


def _forget(index: Index, image: str) -> list[str]:
    """Remove it from the index; the names it had."""
    names = index.names_of(image)
    for name in names:
        del index.names[name]
    del index.images[image]
    for source in [source for source, file in index.files.items() if file.id == image]:
        del index.files[source]
    return names


def prune(where: Place, used: Used, everything: bool = False) -> Removed:
    """Remove untagged images, or with `everything` all unused ones, and layers and blobs of no image.

    Also what an interrupted pull left. Raises NetfabError.
    """
    with alone(where) as layout:
        in_use = used()
        with changing(layout) as index:
            idle = [image for image in index.images if image not in in_use]
            gone = [image for image in idle if everything or not _is_kept(index, image)]
            untagged = [name for image in gone for name in _forget(index, image)]
        return Removed(tuple(untagged), tuple(gone), _sweep(layout, index))


def _is_kept(index: Index, image: str) -> bool:
    """Whether a tag, or a file that a topology names, refers to it."""
    return any("@" not in name for name in index.names_of(image)) or any(
        file.id == image for file in index.files.values()
    )


@contextmanager
def leaving_nothing(where: Place) -> Iterator[None]:
    """Bring images in the block; of those that are refused nothing is left that was not here before.

    If others bring or use images meanwhile, or it can't be removed, the next `prune` does so.
    """
    before = _files(Layout(where.state))
    try:
        yield
    except (BadImage, Unsupported):
        with (
            suppress(NetfabError, OSError),
            alone_at_once(where) as layout,
        ):  # report the refusal, not this
            if layout is not None:
                _sweep(layout, read(layout), before)
        raise


def _files(layout: Layout) -> frozenset[str]:
    return frozenset(
        name for place in (layout.blobs, layout.layers) if os.path.isdir(place) for name in os.listdir(place)
    )


def _sweep(layout: Layout, index: Index, kept: Collection[str] = ()) -> int:
    """Remove layers and blobs of no image in the index; the bytes of disk space freed.

    `kept`: names of files that stay anyway. Raises NetfabError if an image's content can't be read.
    """
    layers = {hex_of(layer) for known in index.images.values() for layer in known.layers}
    used = (_blobs(layout, image, known.manifest) for image, known in index.images.items())
    blobs = {hex_of(blob) for one in used for blob in one}
    freed = 0
    idle = set(os.listdir(layout.layers)) - layers - {*kept}
    for name in sorted(idle, key=lambda name: not name.endswith(".new")):
        path = f"{layout.layers}/{name}"
        freed += sum(_sizes(path))
        if not name.endswith(".new"):  # a partly removed one must not count as a layer
            os.rename(path, path := f"{path}.new")
        remove_tree(path)
    for name in set(os.listdir(layout.blobs)) - blobs - {*kept}:
        freed += os.lstat(f"{layout.blobs}/{name}").st_blocks * 512
        os.unlink(f"{layout.blobs}/{name}")
    return freed


def _blobs(layout: Layout, image: str, manifest: str) -> Iterator[str]:
    yield image
    yield manifest
    try:
        with open(layout.blob(manifest), "rb") as file:
            found = parse(file.read(MOST))
    except (OSError, BadImage) as error:
        raise NetfabError(f"image {image} can't be read: {error}", hint=DAMAGED) from error
    if isinstance(found, Manifest):
        yield from (layer.digest for layer in found.layers)


def _sizes(directory: str) -> Iterator[int]:
    """The disk space of each file below, in bytes."""
    for above, _, names in os.walk(directory):
        for name in names:
            yield os.lstat(f"{above}/{name}").st_blocks * 512
