"""Blobs: content that is known by its sha256, and is here whole or not at all.

One that was interrupted stays as HEX.part and goes on where it stopped, also in another process. Two that
want the same blob at once: the second waits for the first, and finds it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from netfab.images.config import BadImage
from netfab.images.layout import Layout
from netfab.system.files import is_at
from netfab.system.flock import wait_for

_PIECE = 1 << 20  # bytes


class WrongContent(BadImage):
    """The content received has another size or digest than expected."""


class Part:
    """A blob that is being received. Nobody else writes to it.

    What an earlier attempt received is hashed only once the blob is complete: it may come in a thousand
    pieces, each of them an attempt.
    """

    def __init__(self, fd: int, path: str, digest: str, size: int) -> None:
        self._fd, self._path, self._digest, self._size = fd, path, digest, size
        self._hash, self._hashed = hashlib.sha256(), 0  # bytes
        self.have = os.fstat(fd).st_size  # bytes
        if self.have > size:
            self.restart()

    def restart(self) -> None:
        """Discard what was received."""
        os.ftruncate(self._fd, 0)
        self._hash, self._hashed, self.have = hashlib.sha256(), 0, 0

    def write(self, pieces: Iterator[bytes], told: Callable[[int], None]) -> None:
        """Append the next bytes. Raises WrongContent as soon as there are too many."""
        for piece in pieces:
            if self.have + len(piece) > self._size:
                self.restart()
                raise WrongContent(f"{self._digest} is larger than the {self._size} bytes it is to have")
            view = memoryview(piece)
            while view:
                written = os.pwrite(self._fd, view, self.have)
                if self._hashed == self.have:
                    self._hash.update(view[:written])
                    self._hashed += written
                self.have += written
                view = view[written:]
            told(len(piece))

    @property
    def is_whole(self) -> bool:
        """Whether all bytes have come, right or wrong."""
        return self.have == self._size

    def finish(self) -> None:
        """Check it, and move it to its place. Raises WrongContent, and then discards it."""
        while piece := os.pread(self._fd, _PIECE, self._hashed):
            self._hash.update(piece)
            self._hashed += len(piece)
        found = f"sha256:{self._hash.hexdigest()}"
        if found != self._digest:
            self.restart()
            raise WrongContent(f"what came as {self._digest} is {found}")
        os.fdatasync(self._fd)  # or a power cut could leave an empty file that counts as complete
        os.rename(self._path, self._path.removesuffix(".part"))


@contextmanager
def incoming(layout: Layout, digest: str, size: int, check: Callable[[], None]) -> Iterator[Part | None]:
    """The blob to be written; None if it is here. `check`, which may raise, is called while it waits."""
    path = layout.blob(digest)
    while not os.path.exists(path):
        fd = os.open(f"{path}.part", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            wait_for(fd, fcntl.LOCK_EX, check)
            if not is_at(fd, f"{path}.part"):
                continue
            if os.path.exists(path):  # it was completed between our check and opening our part
                os.unlink(f"{path}.part")
            else:
                yield Part(fd, f"{path}.part", digest, size)
                return
        finally:
            os.close(fd)
    yield None


def keep(layout: Layout, data: bytes) -> None:
    """Store a small blob."""
    with incoming(layout, digest_of(data), len(data), lambda: None) as part:
        if part is not None:
            part.restart()
            part.write(iter([data]), lambda _: None)
            part.finish()


def digest_of(data: bytes) -> str:
    """The `sha256:…` of the data."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
