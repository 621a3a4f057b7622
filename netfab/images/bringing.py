"""From a word to an image that is here."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from netfab.errors import NetfabError, Unsupported
from netfab.images.layout import Image, image_of
from netfab.topology.grammar import Wrong
from netfab.topology.image import Source, source

if TYPE_CHECKING:
    from netfab.images import Place


def bring(where: Place, text: str, directory: str) -> Image:
    """The image, brought here when it isn't. Raises NetfabError."""
    found = look_for(where, text, directory)
    if found is None:
        raise Unsupported(f"{text}: images of registries and archives are not supported yet")
    return found


def look_for(where: Place, text: str, directory: str) -> Image | None:
    """The image where it is here. Raises NetfabError."""
    meant = source_of(text, directory)
    if meant.kind == "id":
        return image_of(where.state, meant.place)
    if meant.kind == "path" and os.path.isdir(meant.place):
        return Image(meant.place, (meant.place,))
    return None


def source_of(text: str, directory: str) -> Source:
    """What the word means. Raises NetfabError."""
    try:
        return source(text, os.path.abspath(directory))
    except Wrong as wrong:
        raise NetfabError(str(wrong)) from wrong
