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
    """Of a `Where`, what bringing an image needs."""

    @property
    def state(self) -> str:
        """Below this directory they lie."""

    @property
    def lock_timeout(self) -> float:
        """Seconds."""

    @property
    def waiting(self) -> Callable[[str], None]:
        """Told what we wait for."""

    @property
    def say(self) -> Callable[[str], None]:
        """Told what the user may want to know: that a mirror does not answer."""

    @property
    def progress(self) -> Callable[[int, int, str], None]:
        """Told how much of how much has come."""


def resolve(where: Place, reference: str, directory: str = ".") -> Image:
    """The image that a word means, brought here when it isn't: pulled, loaded, imported.

    `alpine:3.20`, `HOST/NAME@sha256:…`, the id of one that is here, `docker-archive:FILE`,
    `oci-archive:FILE`, `oci:DIR`, the path of a root file system's tar, or of a directory, which is taken as
    it is. A relative path begins in `directory`. Raises NetfabError.
    """
    from netfab.images.obtain import bring

    return bring(where, reference, directory)


def renew(where: Place, reference: str, directory: str = ".") -> Image:
    """The same, but a registry's image as the registry has it now. Raises NetfabError."""
    from netfab.images import obtain

    return obtain.renew(where, reference, directory)


def find(where: Place, reference: str, directory: str = ".") -> Image | None:
    """The same where it is here, whole, and None where it would have to be brought. Raises NetfabError."""
    from netfab.images.obtain import look_for

    return look_for(where, reference, directory)
