"""Layers unpacked: each once, shared by all images that have it, and there as a whole or not at all."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from contextlib import suppress

from netfab.errors import NetfabError
from netfab.images.config import BadImage
from netfab.images.layout import Layout
from netfab.images.streams import Stream
from netfab.images.unpack import unpack
from netfab.system.files import is_at, sync_filesystem
from netfab.system.flock import wait_for
from netfab.system.trees import remove_at


def install(layout: Layout, blob: str, diff_id: str, check: Callable[[], None]) -> int:
    """Unpack the layer in the blob with that digest, unless it is here; its tar must have that diff id.

    The bytes of its tar, 0 if it was here. `check` is called now and then, and may raise. Raises BadImage,
    NetfabError.
    """
    path, size = layout.layer(diff_id), 0
    while not os.path.isdir(path):
        new = f"{path}.new"
        with suppress(FileExistsError):
            os.mkdir(new, 0o755)
        try:
            fd = os.open(new, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:  # another process has just completed it
            continue
        try:
            wait_for(fd, fcntl.LOCK_EX, check)
            if not is_at(fd, new):
                continue
            if os.path.isdir(path):  # it was completed between our check and creating our `new`
                _empty(fd)
                os.rmdir(new)
            else:
                try:
                    size = _write(layout, blob, diff_id, fd, check)
                except NetfabError:
                    os.rmdir(new)
                    raise
                os.rename(new, path)
        finally:
            os.close(fd)
    return size


def _write(layout: Layout, blob: str, diff_id: str, directory: int, check: Callable[[], None]) -> int:
    """Unpack it; its size. On failure nothing of it is left."""
    _empty(directory)  # of what a killed process left
    try:
        with open(layout.blob(blob), "rb", buffering=0) as file:
            stream = Stream(file)
            unpack(stream, f"{layout.layer(diff_id)}.new", check)
            found = stream.digest()
        if found != diff_id:
            raise BadImage(f"layer {blob} unpacks to {found}, and its image says {diff_id}")
        sync_filesystem(directory)  # or a power cut could leave empty files in a layer that counts as whole
        return stream.tell()
    except (NetfabError, OSError) as error:
        _empty(directory)
        if isinstance(error, OSError):
            raise NetfabError(f"can't unpack layer {blob}: {error.strerror}") from error
        raise


def _empty(directory: int) -> None:
    for name in os.listdir(directory):
        remove_at(directory, name)


def tar_size(layout: Layout, blob: str) -> int:
    """Bytes of a layer's tar: about what it takes unpacked."""
    with open(layout.blob(blob), "rb", buffering=0) as file:
        stream = Stream(file)
        stream.digest()
        return stream.tell()
