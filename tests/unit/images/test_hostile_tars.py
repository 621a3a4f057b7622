"""Tars whose headers were made to do harm are refused, as layers and as archives: no hang, no traceback."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile

import pytest
from made_images import file, layer

from netfab.images import streams
from netfab.images.archives import Archive
from netfab.images.config import BadImage
from netfab.images.members import members
from netfab.images.streams import Stream

_END = bytes(2 * tarfile.BLOCKSIZE)


def header(kind: bytes, size: int, **bytes_at: bytes) -> bytes:
    """One header; `b386=…`: what it has from byte 386 on."""
    block = bytearray(tarfile.TarInfo("x").tobuf(tarfile.USTAR_FORMAT))
    block[156:157], block[124:136] = kind, b"%011o\0" % size
    if size < 0:
        block[124:136] = (256**12 + size).to_bytes(12, "big")  # base 256, as GNU tar writes what is large
    for place, data in bytes_at.items():
        block[int(place[1:]) : int(place[1:]) + len(data)] = data
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % tarfile.BLOCKSIZE)


_LONG_NAME = header(b"L", 3) + padded(b"abc")
_SPARSE = header(b"S", 512, b386=b"%011o\0%011o\0" % (0, 512), b482=b"\1", b483=b"%011o\0" % 512)
_MAP = padded(b"99999999\n" + b"0\n" * (1 << 20))
_ATTRIBUTES = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n28 GNU.sparse.realsize=1024\n"

TARS = {
    "a size below nothing": header(b"0", 0) + header(b"0", -512) + _END,
    "a long name below nothing": header(b"0", 0) + header(b"L", -512) + _END,
    "a size that no disk has": header(b"0", 0) + header(b"0", (1 << 80) - (1 << 95)) + _END,
    "names of names": _LONG_NAME * 3000 + header(b"0", 0) + _END,
    "a map that is cut off": _SPARSE,
    "a map that does not end": _SPARSE + (bytes(504) + b"\1" + bytes(7)) * 2100,
}


@pytest.mark.parametrize("what", TARS)
def test_a_layer_that_is_made_to_do_harm_is_refused(what: str) -> None:
    with pytest.raises(BadImage):
        list(members(Stream(io.BytesIO(TARS[what]))))


@pytest.mark.parametrize("what", TARS)
def test_an_archive_that_is_made_to_do_harm_is_refused(what: str) -> None:
    with pytest.raises(BadImage):
        Archive(io.BytesIO(TARS[what]))


def test_a_map_of_a_sparse_file_does_not_fill_the_memory() -> None:
    tar = header(b"x", len(_ATTRIBUTES)) + padded(_ATTRIBUTES) + header(b"0", len(_MAP)) + _MAP

    for read in (lambda: list(members(Stream(io.BytesIO(tar)))), lambda: Archive(io.BytesIO(tar))):
        with pytest.raises(BadImage, match="header of"):
            read()


def test_many_small_headers_are_not_one_that_is_huge() -> None:
    tar = layer(*(file(str(number)) for number in range(3000)))

    assert len(list(members(Stream(io.BytesIO(tar))))) == 3000
    assert len(Archive(io.BytesIO(tar)).names) == 3000


def test_a_gzip_of_several_members_may_be_cut_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    data = [b"first" * 9, b"", b"second" * 9]
    blob = b"".join(gzip.compress(part, mtime=0) for part in data)

    for piece in range(1, len(blob)):
        monkeypatch.setattr(streams, "_PIECE", piece)
        assert Stream(io.BytesIO(blob)).digest() == f"sha256:{hashlib.sha256(b''.join(data)).hexdigest()}"
