"""Images: those of this host, kept by digest, and what it takes to have one here.

The supervisor of a fabric asks for the layers of an id and needs nothing but the standard library for it: so
what brings images is imported when one is brought.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from netfab.images.layout import Image as Image
from netfab.images.layout import image_of as image_of


class Place(Protocol):
    """The part of a `Where` that bringing an image needs."""

    @property
    def state(self) -> str:
        """The directory below which images are stored."""

    @property
    def lock_timeout(self) -> float:
        """How long to wait for a lock, in seconds."""

    @property
    def waiting(self) -> Callable[[str], None]:
        """Called with what we wait for."""

    @property
    def say(self) -> Callable[[str], None]:
        """Called with notices for the user: that a mirror does not answer."""

    @property
    def progress(self) -> Callable[[int, int, str], None]:
        """Called with how much has come, of how much in all, and of what."""


def resolve(where: Place, reference: str, directory: str = ".") -> Image:
    """The image that a word means; pulled, loaded or imported if it is not here.

    `alpine:3.20`, `HOST/NAME@sha256:…`, the id of one that is here, `docker-archive:FILE`,
    `oci-archive:FILE`, `oci:DIR`, the path of a root file system's tar, or of a directory, which is used as
    it is. A relative path starts at `directory`. Raises NetfabError.
    """
    from netfab.images.obtain import bring

    return bring(where, reference, directory)


def renew(where: Place, reference: str, directory: str = ".") -> Image:
    """Like `resolve`, but a registry's image as the registry has it now. Raises NetfabError."""
    from netfab.images import obtain

    return obtain.renew(where, reference, directory)


def find(where: Place, reference: str, directory: str = ".") -> Image | None:
    """Like `resolve`, but None if it is not completely here. Raises NetfabError."""
    from netfab.images.obtain import look_for

    return look_for(where, reference, directory)
