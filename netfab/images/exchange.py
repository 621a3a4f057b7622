"""Pull and push, by name."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

from netfab.errors import NetfabError
from netfab.images.index import read
from netfab.images.ingest import about, take
from netfab.images.layout import Image, image_of
from netfab.images.locks import using
from netfab.images.manifests import Descriptor, Manifest, parse
from netfab.images.naming import key_of, known_id, named
from netfab.images.registry import Registry
from netfab.images.registry import push as push_to
from netfab.images.removal import leaving_nothing
from netfab.images.settings import settings
from netfab.topology.image import Reference
from netfab.tuples import NamedTuple

if TYPE_CHECKING:
    from netfab.images import Place


class Pulled(NamedTuple):
    """The result of a pull."""

    image: Image
    name: Reference
    digest: str  # of what the registry has by that name
    new: bool  # whether it was not here by that name


def pull(where: Place, name: str) -> Pulled:
    """Pull the image that a registry has by that name now. Raises NetfabError."""
    wanted = named(name)
    with leaving_nothing(where), using(where) as layout:
        before = read(layout).names.get(key_of(wanted))
        with about(str(wanted)), closing(Registry(wanted, settings(), where.say)) as registry:
            names = {key_of(wanted), key_of(wanted._replace(digest=registry.digest))}
            image = take(where, layout, registry, names, str(wanted))
        found = image_of(where.state, image)
        assert found is not None, "what was taken in just now is here"
        return Pulled(found, wanted, registry.digest, image != before)


class Pushed(NamedTuple):
    """The result of a push."""

    name: Reference
    digest: str
    size: int  # bytes of the manifest


def push(where: Place, name: str, told: Callable[[Descriptor, bool], None]) -> Pushed:
    """Push the image of that name to the registry in the name. Raises NetfabError."""
    wanted = named(name)
    if wanted.digest:
        raise NetfabError(f"{name}: what is pushed has a tag, and no digest")
    with using(where) as layout:
        index = read(layout)
        known = index.images[known_id(index, name)]
        with open(layout.blob(known.manifest), "rb") as file:
            manifest = parse(file.read())
        assert isinstance(manifest, Manifest), "what is kept of an image is its manifest"
        with about(str(wanted)):
            return Pushed(wanted, manifest.digest, push_to(wanted, manifest, layout, settings(), told))
