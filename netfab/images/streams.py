"""A layer's bytes on their way from a blob to files: decompressed, counted, and known by their sha256.

gzip (twice as fast where the `zlib-ng` package is installed), zstd (where `zstandard` is) or neither, told
apart by how the blob begins. What reads a tar here can only go forward, and can't be made to take more memory
or disk than is allowed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import IO

from netfab.errors import Unsupported
from netfab.images.config import BadImage

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_PIECE = 1 << 18  # bytes to read, and at most to decompress, at once
_SMALL = 1 << 13  # bytes below which a copy is faster than a view
HEADERS = 1 << 20  # bytes of one member's headers: long names, attributes, maps of sparse files
_ZSTD_WINDOW = 1 << 27  # bytes of memory; zstd(1)'s own default limit
MOST = 64 << 30  # bytes of a layer's tar: more is a decompression bomb


class Stream:
    """The bytes of a tar, a file for tarfile; `digest` reads the rest."""

    def __init__(self, blob: IO[bytes], most: int = MOST) -> None:
        self._pieces = pieces_of(blob)
        self._left = most
        self._hash = hashlib.sha256()
        self._piece, self._at = b"", 0  # position of the next byte in it
        self._before = 0  # bytes before this piece
        self._headers = 0  # bytes read since the last seek
        self.last = b""  # what was read last, if not a file's content

    def tell(self) -> int:
        """The number of bytes read."""
        return self._before + self._at

    def seek(self, position: int) -> None:
        """Skip forward to a position. Raises BadImage."""
        at, self._headers = position - self._before, 0
        if at < self._at:
            raise BadImage("this layer's tar leads back to where it came from")
        if at <= len(self._piece):
            self._at = at
        else:
            for _ in self._across(at - self._at):
                pass

    def read(self, size: int) -> bytes:
        """For tarfile: headers, never content. Raises BadImage for more than a member may have."""
        self._headers += size
        if size < 0 or self._headers > HEADERS:
            raise BadImage(f"this layer has a header of {size if size < 0 else self._headers} bytes")
        end = self._at + size
        if end <= len(self._piece):
            self.last, self._at = self._piece[self._at : end], end
        else:
            self.last = b"".join(self.content(size))
        return self.last

    def ahead(self, size: int) -> bytes:
        """Peek at the next bytes; fewer at the end of the current piece."""
        return self._piece[self._at : self._at + size]

    def content(self, size: int) -> Iterable[bytes | memoryview]:
        """The next bytes, as they come; fewer than `size` if the tar ends."""
        end = self._at + size
        if size <= 0 or end > len(self._piece):
            return self._across(size)
        found = self._piece[self._at : end] if size < _SMALL else memoryview(self._piece)[self._at : end]
        self._at = end
        return (found,)

    def _across(self, size: int) -> Iterator[bytes | memoryview]:
        """The next bytes, across pieces."""
        while size > 0:
            if self._at == len(self._piece) and not self._next():
                return
            end = min(self._at + size, len(self._piece))
            size -= end - self._at
            found, self._at = memoryview(self._piece)[self._at : end], end
            yield found

    def _next(self) -> bool:
        self._before += len(self._piece)
        self._piece, self._at = next(self._pieces, b""), 0
        self._hash.update(self._piece)
        self._left -= len(self._piece)
        if self._left < 0:
            raise BadImage(f"this layer is larger than {MOST >> 30} GiB")
        return bool(self._piece)

    def digest(self) -> str:
        """Read to the end; the sha256 of the whole tar."""
        while self._next():
            pass
        return f"sha256:{self._hash.hexdigest()}"


def compression_of(start: bytes) -> str:
    """By the first four bytes: gzip, zstd, or "" for none."""
    return "gzip" if start[:2] == _GZIP else "zstd" if start == _ZSTD else ""


def pieces_of(blob: IO[bytes]) -> Iterator[bytes]:
    """The content of a blob, decompressed. Raises BadImage for a damaged one, Unsupported for zstd."""
    start = blob.read(4)
    blob.seek(-len(start), os.SEEK_CUR)
    if compression := compression_of(start):
        return _gunzip(blob) if compression == "gzip" else _from_zstd(blob)
    return iter(lambda: blob.read(_PIECE), b"")


def _gunzip(blob: IO[bytes]) -> Iterator[bytes]:
    """gzip(1) and pigz write several members one after another, and some tools pad the end with zeros."""
    zlib = _inflating()
    rest = blob.read(_PIECE)
    while rest.strip(b"\0"):
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            if not rest:
                raise BadImage("this layer is truncated")
            try:
                piece = member.decompress(rest, _PIECE * 4)
            except zlib.error as error:
                raise BadImage(f"this layer is damaged: {error}") from error
            if piece:  # empty if only a member's header or trailer was read: that is not the end
                yield piece
            rest = member.unconsumed_tail or (b"" if member.eof else blob.read(_PIECE))
        rest = member.unused_data or blob.read(_PIECE)


def _inflating() -> ModuleType:
    """zlib-ng's module, a faster zlib, if it is installed."""
    try:
        from zlib_ng import zlib_ng
    except ImportError:
        import zlib

        return zlib
    return zlib_ng


def _from_zstd(blob: IO[bytes]) -> Iterator[bytes]:
    try:
        import zstandard
    except ImportError as error:
        raise Unsupported("this layer is compressed by zstd", hint="pip install 'netfab[zstd]'") from error
    try:
        reader = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).stream_reader(
            blob, read_across_frames=True
        )
        while piece := reader.read(_PIECE):
            yield piece
    except zstandard.ZstdError as error:
        raise BadImage(f"this layer is damaged: {error}") from error
