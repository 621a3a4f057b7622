"""The members of a tar are those that tarfile finds in it, wherever what comes is cut into pieces."""

from __future__ import annotations

import io
import tarfile
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from netfab.images.members import members
from netfab.images.streams import Stream

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
KINDS = {tarfile.REGTYPE: "file", tarfile.DIRTYPE: "directory", tarfile.LNKTYPE: "hardlink"}
NAMES = st.text("ab/é", min_size=1, max_size=90).map(lambda name: f"a/{name}/b") | st.just(
    "a/" + "long/" * 30
)
ENTRIES = st.tuples(st.sampled_from(FORMATS), st.sampled_from(list(KINDS)), NAMES, st.integers(0, 2000))


class Cut(io.BytesIO):
    """Gives only so many bytes at once."""

    def __init__(self, data: bytes, most: int) -> None:
        super().__init__(data)
        self.most = most

    def read(self, size: int | None = -1) -> bytes:
        return super().read(self.most if size is None or size < 0 else min(size, self.most))


def written(entries: list[tuple[int, bytes, str, int]]) -> bytes:
    """A tar whose members each have a form of their own, as those have to which something was added."""
    tar = bytearray()
    for form, kind, name, size in entries:
        info = tarfile.TarInfo(name)
        info.type, info.size, info.uid, info.linkname = kind, size, size, "a/a"
        data = bytes([size % 256]) * size if info.isreg() else b""
        try:
            tar += info.tobuf(form, "utf-8", "surrogateescape")
        except ValueError:  # a name that has no place in a ustar
            continue
        tar += data + bytes(-len(data) % 512)
    return bytes(tar) + bytes(1024)


def content_of(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    found = tar.extractfile(member)
    assert found is not None
    return found.read()


def told(stream: Stream) -> list[Any]:
    return [
        (
            each.kind,
            f"{each.parent}/{each.name}",
            each.uid,
            b"".join(map(bytes, stream.content(each.size))) if each.kind == "file" else b"",
        )
        for each in members(stream)
    ]


@given(
    st.lists(ENTRIES, min_size=1, max_size=8),
    st.sampled_from([4, 500, 512, 1000, 1024, 1100, 5000]),
    st.booleans(),
)
def test_members_and_their_content_are_what_tarfile_finds(
    entries: list[tuple[int, bytes, str, int]], most: int, owned: bool
) -> None:
    ours = tarfile.TarInfo.create_pax_global_header({"uid": "7"}) if owned else b""
    data = ours + written(entries)
    if not data.strip(b"\0"):
        return
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        wanted = [
            (
                KINDS[each.type],
                "/".join(part for part in each.name.split("/") if part),
                each.uid,
                content_of(tar, each) if each.isreg() else b"",
            )
            for each in tar
        ]

    assert told(Stream(Cut(data, most))) == wanted
