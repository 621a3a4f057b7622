"""A gzip layer means the same whether zlib-ng is installed or not: its content, or the same refusal."""

from __future__ import annotations

import gzip
import io
import random
import sys
from collections.abc import Callable

import pytest

from netfab.images.config import BadImage
from netfab.images.streams import pieces_of

CONTENT = random.Random(1).randbytes(3_000) + b"netfab " * 300_000  # larger than what is read at once
MEMBERS = gzip.compress(CONTENT[:700], mtime=0) + gzip.compress(CONTENT[700:], mtime=0) + bytes(512)


@pytest.fixture(params=["zlib-ng", "zlib"])
def unpacked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], bytes]:
    if request.param == "zlib":
        monkeypatch.setitem(sys.modules, "zlib_ng", None)
    else:
        pytest.importorskip("zlib_ng")
    return lambda layer: b"".join(pieces_of(io.BytesIO(layer)))


def test_members_and_zeros_at_the_end_are_one_content(unpacked: Callable[[bytes], bytes]) -> None:
    assert unpacked(MEMBERS) == CONTENT


def test_a_bomb_comes_in_small_pieces(unpacked: Callable[[bytes], bytes]) -> None:
    assert max(map(len, pieces_of(io.BytesIO(gzip.compress(bytes(20 << 20)))))) <= 1 << 20


def test_a_layer_is_refused_wherever_it_ends(unpacked: Callable[[bytes], bytes]) -> None:
    for end in (4, 11, 500, len(MEMBERS) // 2, len(MEMBERS) - 513):
        with pytest.raises(BadImage, match="is truncated"):
            unpacked(MEMBERS[:end])


def test_a_damaged_byte_makes_no_other_content(unpacked: Callable[[bytes], bytes]) -> None:
    refused = 0
    for place in range(2, len(MEMBERS) - 512, 37):
        damaged = MEMBERS[:place] + bytes([MEMBERS[place] ^ 0x55]) + MEMBERS[place + 1 :]
        try:
            assert unpacked(damaged) == CONTENT
        except BadImage:
            refused += 1
    assert refused > 100
