"""Where the images of a host lie, and how one that is whole is read. Standard library only; writes nothing.

<state>/images/index.json             which images there are, and their names
<state>/images/index.lock             held while that is changed
<state>/images/lock                   shared while images are brought or used, alone while some are removed
<state>/images/blobs/HEX              manifests, configs, layers as they came: the content has that sha256
<state>/images/blobs/HEX.part         one that is not whole yet
<state>/images/layers/HEX             a layer unpacked, by the sha256 of its tar (its diff id)
<state>/images/layers/HEX.new         one that is not whole yet
"""

from __future__ import annotations

import json
import os
from typing import Any

from netfab.errors import NetfabError
from netfab.images.config import config_of, diff_ids_of
from netfab.topology.program import Config
from netfab.tuples import NamedTuple

MOST = 4 << 20  # bytes of a manifest or a config
DAMAGED = "`netfab rmi` it, and pull or load it again"


class Layout(NamedTuple):
    """The paths of one host's images."""

    state: str

    @property
    def root(self) -> str:
        """The directory of everything; only root may read it."""
        return f"{self.state}/images"

    @property
    def index_file(self) -> str:
        """The file with the index of images and their names."""
        return f"{self.root}/index.json"

    @property
    def index_lock(self) -> str:
        """The lock that is held while the index is changed."""
        return f"{self.root}/index.lock"

    @property
    def lock(self) -> str:
        """The lock held shared while images are brought or used, exclusively while some are removed."""
        return f"{self.root}/lock"

    @property
    def blobs(self) -> str:
        """The directory of blobs, named by their sha256."""
        return f"{self.root}/blobs"

    @property
    def layers(self) -> str:
        """The directory of unpacked layers."""
        return f"{self.root}/layers"

    def blob(self, digest: str) -> str:
        """The path of the blob with that digest."""
        return f"{self.blobs}/{hex_of(digest)}"

    def layer(self, diff_id: str) -> str:
        """The path of an unpacked layer."""
        return f"{self.layers}/{hex_of(diff_id)}"


def hex_of(digest: str) -> str:
    """The digits of a `sha256:…`."""
    return digest.rpartition(":")[2]


class Image(NamedTuple):
    """An image that is completely here."""

    digest: str  # its id, `sha256:…` of its config: for a Spec's `image`; for a directory its path
    layers: tuple[str, ...]  # unpacked directories, topmost first, as overlayfs lists them
    config: Config = Config()


def image_of(state: str, digest: str) -> Image | None:
    """The image with that id; None if it, or one of its layers, is not here. Raises NetfabError."""
    layout = Layout(state)
    config = read_config(layout, digest)
    if config is None:
        return None
    layers = tuple(map(layout.layer, dict.fromkeys(reversed(diff_ids_of(config)))))  # overlayfs: none twice
    if not all(map(os.path.isdir, layers)):
        return None
    return Image(digest, layers, config_of(config))


def read_config(layout: Layout, digest: str) -> dict[str, Any] | None:
    """The config of an image, which was checked on arrival; None if it is not here.

    Raises NetfabError if it is damaged.
    """
    try:
        with open(layout.blob(digest), "rb") as file:
            return dict(json.loads(file.read(MOST)))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise NetfabError(f"image {digest} can't be read: {error}", hint=DAMAGED) from error
