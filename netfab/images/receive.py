"""Images sent from one host to another, blob by blob, in pieces: the receiving half.

Needs nothing but the standard library, like everything that runs on a remote host. An interrupted blob is
resumed, and counts once it is complete and has its digest, like one from a registry.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from netfab.errors import NetfabError
from netfab.images.blobs import Part, incoming
from netfab.images.config import BadImage
from netfab.images.ingest import about, take
from netfab.images.layout import MOST, image_of, read_config
from netfab.images.locks import using
from netfab.images.manifests import ARCHITECTURES, Descriptor, Manifest, parse
from netfab.topology.grammar import Wrong
from netfab.topology.image import reference

if TYPE_CHECKING:
    from netfab.images import Place


def lacking(where: Place, ids: Iterable[str]) -> list[str]:
    """Which of these images are not here."""
    return [image for image in ids if image_of(where.state, image) is None]


def receive(where: Place, blob: Descriptor, start: int, data: bytes) -> int:
    """Store a piece of a blob; how many bytes are here now, which is where the next one has to start.

    Raises NetfabError: WrongContent for a complete blob with a wrong digest.
    """
    with (
        using(where) as layout,
        about(blob.digest),
        incoming(layout, blob.digest, blob.size, lambda: None) as part,
    ):
        if part is None:
            return blob.size
        if start == part.have:
            part.write(iter([data] if data else []), lambda _: None)
        if part.is_whole:
            part.finish()
        return part.have


class _Here:
    """A Supply of the blobs received."""

    def __init__(self, manifest: Manifest, text: bytes) -> None:
        self.manifest, self.text = manifest, text

    def fetch(self, blob: Descriptor, part: Part, told: Callable[[int], None]) -> None:
        """Nothing is left to fetch."""
        raise BadImage(f"{blob.digest} did not come")


def unpack_received(where: Place, digest: str, names: Iterable[str]) -> str:
    """Unpack the image whose blobs have come, given its manifest's digest; its id. Raises NetfabError."""
    with using(where) as layout, about(digest):
        with open(layout.blob(digest), "rb") as file:
            text = file.read(MOST)
        manifest = parse(text)
        if not isinstance(manifest, Manifest):
            raise BadImage("this is not a manifest")
        config, machine = read_config(layout, manifest.config.digest) or {}, os.uname().machine
        made_for, own = config.get("architecture"), ARCHITECTURES.get(machine, machine)
        if made_for and made_for != own:
            raise NetfabError(f"it is an image for {made_for}, and this host is {own}")
        return take(where, layout, _Here(manifest, text), _plain(names), digest)


def _plain(names: Iterable[str]) -> Iterator[str]:
    """Those that are valid names."""
    for name in names:
        with suppress(Wrong):
            yield str(reference(name))
