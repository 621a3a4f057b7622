"""Headers read fast are what tarfile reads."""

from __future__ import annotations

import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfab.images.headers import Header, usual

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT)
KINDS = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, b"3")
# Names of owners, and numbers of devices, are of no use to us: those are not looked at.
PLACES = st.integers(0, 264) | st.integers(345, 511)


def told(header: bytes) -> object:
    try:
        found = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return None
    return Header(*(getattr(found, field) for field in Header._fields))


@given(
    st.sampled_from(FORMATS),
    st.sampled_from(KINDS),
    st.text(min_size=1, max_size=90).filter(lambda name: "\0" not in name and len(name.encode()) < 90),
    st.integers(0, 0o7777777),
    st.lists(st.tuples(PLACES, st.sampled_from(b"01278 \0/x-\x80\xff")), max_size=3),
    st.booleans(),
)
def test_a_header_however_damaged_says_the_same(
    form: int, kind: bytes, name: str, number: int, damage: list[tuple[int, int]], mended: bool
) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.uid, info.size, info.linkname = kind, number, number, name[::-1]
    header = bytearray(info.tobuf(form, "utf-8", "surrogateescape")[-512:])
    for place, byte in damage:
        header[place] = byte
    if mended:
        header[148:156] = b"%06o\0 " % (sum(header) - sum(header[148:156]) + 256)

    found = usual(bytes(header))
    assert found is None or found == told(bytes(header))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", KINDS[:1] + KINDS[2:5])
def test_what_tar_programs_write_is_usual(form: int, kind: bytes) -> None:
    info = tarfile.TarInfo("usr/lib/a")
    info.type, info.linkname = kind, "usr/lib/b"

    assert usual(info.tobuf(form, "utf-8", "surrogateescape")) is not None
