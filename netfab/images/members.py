"""The members of a layer's tar, each validated and normalized, so that unpacking only has to write.

A layer is untrusted. What could lead outside the root, or has no meaning in a layer, is refused here; writing
files so that nothing can escape is unpack.py's.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Literal

from netfab.images.config import BadImage
from netfab.images.headers import BAD_TAR, Header, usual
from netfab.images.streams import Stream
from netfab.tuples import NamedTuple

Kind = Literal["file", "directory", "symlink", "hardlink", "fifo", "whiteout", "opaque"]

_KINDS: dict[bytes, Kind] = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.CONTTYPE: "file",
    tarfile.GNUTYPE_SPARSE: "file",
    tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "symlink",
    tarfile.LNKTYPE: "hardlink",
    tarfile.FIFOTYPE: "fifo",
}
# A container's file systems are all `nodev`: it could not use an image's devices.
_LEFT_OUT = (tarfile.CHRTYPE, tarfile.BLKTYPE)
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"  # OCI image-spec, layer.md
_OF_AUFS = f"{_WHITEOUT}{_WHITEOUT}"
_XATTR = "SCHILY.xattr."
_LATEST = 1 << 34  # seconds, the range of ext4's timestamps
_MOST_MEMBERS = 4_000_000


class Member(NamedTuple):
    """A file, directory or link to write."""

    kind: Kind
    parent: str  # relative to the layer's root, without `.` and `..`; "" the root itself
    name: str  # "": the root
    target: str  # of a symlink, verbatim; of a hard link: in the layer, relative to its root
    mode: int
    uid: int
    gid: int
    mtime: int  # nanoseconds since the epoch
    size: int
    sparse: tuple[tuple[int, int], ...]  # offset and length of each data segment; (): all of it
    xattrs: tuple[tuple[str, bytes], ...]


def members(stream: Stream) -> Iterator[Member]:
    """All members; each must be handled before the next is requested. Raises BadImage."""
    try:
        for number, header in enumerate(_headers(stream)):
            if number == _MOST_MEMBERS:
                raise BadImage(f"this layer has more than {_MOST_MEMBERS} files")
            if header.type not in _LEFT_OUT and (member := _member(header)):
                yield member
    except BAD_TAR as error:
        raise BadImage(f"this layer is not a tar: {error}") from error
    if stream.last.strip(b"\0"):
        raise BadImage("this layer's tar is damaged")


def _headers(stream: Stream) -> Iterator[Header | tarfile.TarInfo]:
    """All headers. tarfile reads the first and the unusual; its `offset` is where the next begins."""
    source: Any = stream  # it has all methods that tarfile uses
    with tarfile.open(fileobj=source, mode="r:", encoding="utf-8") as tar:
        found: Header | tarfile.TarInfo | None = tar.next()
        while found is not None:
            yield found
            stream.seek(tar.offset)
            found = None if tar.pax_headers else usual(stream.ahead(tarfile.BLOCKSIZE))
            if found is None:
                found = tar.next()
                tar.members.clear()  # type: ignore[attr-defined]  # tarfile would keep them all
            else:
                tar.offset += tarfile.BLOCKSIZE
                stream.seek(tar.offset)
                if found.type == tarfile.REGTYPE:
                    tar.offset += -(-found.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _member(found: Header | tarfile.TarInfo) -> Member | None:
    """The member; None for aufs's own metadata."""
    kind = _KINDS.get(found.type)
    if kind is None:
        raise BadImage(f"{found.name!r} in this layer is of no known kind")
    above, _, name = found.name.rpartition("/")
    if name in ("", ".", "..") or "\0" in name:
        above, _, name = _inside(found.name).rpartition("/")
    parent, target = _inside(above), found.linkname
    if name.startswith(_WHITEOUT):
        if name == _OPAQUE:
            kind = "opaque"
        elif name.startswith(_OF_AUFS):
            return None
        else:
            kind, name = "whiteout", name.removeprefix(_WHITEOUT)
        if name in ("", ".", ".."):
            raise BadImage(f"{found.name!r} in this layer would hide all of it")
    if not name and kind != "directory":
        raise BadImage(f"this layer's root is not a directory but a {kind}")
    if kind == "hardlink":
        target = _inside(target)
    if not (0 <= found.uid < 0xFFFFFFFF and 0 <= found.gid < 0xFFFFFFFF):
        raise BadImage(f"{found.name!r} in this layer has an owner that there can't be")
    return Member(
        kind,
        parent,
        name,
        target,
        found.mode & 0o7777,
        found.uid,
        found.gid,
        int(found.mtime * 1e9) if -_LATEST < found.mtime < _LATEST else 0,
        found.size,
        () if isinstance(found, Header) else tuple(getattr(found, "sparse", None) or ()),
        () if isinstance(found, Header) else _xattrs(found),
    )


@lru_cache(maxsize=1 << 10)  # a directory's files come one after another
def _inside(path: str) -> str:
    """The name relative to the layer's root, even if it begins with `/`. Raises BadImage."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in path:
        raise BadImage(f"{path!r} in this layer leads out of it")
    return "/".join(parts)


def _xattrs(found: tarfile.TarInfo) -> tuple[tuple[str, bytes], ...]:
    """Capabilities and users' attributes. Never overlayfs's own: those redirect it to other files."""
    return tuple(
        (name, value.encode("utf-8", "surrogateescape"))
        for key, value in found.pax_headers.items()
        if key.startswith(_XATTR) and (name := key.removeprefix(_XATTR))
        if name == "security.capability"
        or (name.startswith("user.") and not name.startswith("user.overlay."))
    )
