"""Getting an image onto this host: as it is here, from a file or directory, or from its registry."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from netfab.errors import NetfabError
from netfab.images.index import read
from netfab.images.layout import Image, Layout, image_of
from netfab.images.naming import NoImage, id_of
from netfab.topology.grammar import Wrong
from netfab.topology.image import Source, source

if TYPE_CHECKING:
    from netfab.images import Place


def bring(where: Place, text: str, directory: str) -> Image:
    """The image, brought here if it is not. Raises NetfabError."""
    found = look_for(where, text, directory)
    if found is not None:
        return found
    meant = _source_of(text, directory)
    if meant.kind == "id":
        raise NoImage(text, [])
    if meant.is_file:
        from netfab.images.loading import load

        return load(where, meant)
    return renew(where, text, directory)


def renew(where: Place, text: str, directory: str) -> Image:
    """The image as its registry has it now; one without a registry as it is. Raises NetfabError."""
    meant = _source_of(text, directory)
    if meant.kind != "name":
        return bring(where, text, directory)
    from netfab.images.exchange import pull

    try:
        return pull(where, meant.place).image
    except NetfabError as error:
        path = text.removesuffix(":latest")
        if os.path.exists(os.path.join(directory, path)):
            error.hint = "; ".join(filter(None, (f"`./{path}` is what is here", error.hint)))
        raise


def look_for(where: Place, text: str, directory: str) -> Image | None:
    """The image, if it is here. Raises NetfabError."""
    layout, meant = Layout(where.state), _source_of(text, directory)
    if meant.kind == "host":
        return Image("host", ())
    if meant.kind == "path" and os.path.isdir(meant.place) and not _is_layout(meant.place):
        return Image(meant.place, (meant.place,))
    if meant.is_file:
        from netfab.images.loading import already_loaded

        return already_loaded(layout, meant)
    found = id_of(read(layout), text)
    return None if found is None else image_of(where.state, found)


def _is_layout(path: str) -> bool:
    """Whether a directory is an OCI layout, not a root file system."""
    return os.path.isfile(f"{path}/oci-layout") and os.path.isfile(f"{path}/index.json")


def _source_of(text: str, directory: str) -> Source:
    """The source that the word means. Raises NetfabError."""
    try:
        return source(text, os.path.abspath(directory))
    except Wrong as wrong:
        raise NetfabError(str(wrong)) from wrong
