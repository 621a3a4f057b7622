"""The members of a layer's tar, each checked and in one form, so that who unpacks has only to write.

A layer comes from strangers. What could lead out of it, or means nothing in it, is refused here; how files
are written so that nothing can is unpack.py's.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import Any, Literal

from netfab.images.config import BadImage
from netfab.images.headers import Header
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
# A container's file systems are all `nodev`: a device of an image would be of no use to it.
_LEFT_OUT = (tarfile.CHRTYPE, tarfile.BLKTYPE)
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"  # OCI image-spec, layer.md
_OF_AUFS = f"{_WHITEOUT}{_WHITEOUT}"
_XATTR = "SCHILY.xattr."
_LATEST = 1 << 34  # seconds, what an ext4 can note
_MOST_MEMBERS = 4_000_000


class Member(NamedTuple):
    """One thing to write."""

    kind: Kind
    parent: str  # relative to the layer's root, without `.` and `..`; "" the root itself
    name: str  # "": the root
    target: str  # of a symlink, as it is; of a hard link: in the layer, relative to its root
    mode: int
    uid: int
    gid: int
    mtime: int  # nanoseconds since the epoch
    size: int
    sparse: tuple[tuple[int, int], ...]  # offset and length of what is written there; (): all of it
    xattrs: tuple[tuple[str, bytes], ...]


def members(stream: Stream) -> Iterator[Member]:
    """All members, each to be dealt with before the next is asked for. Raises BadImage."""
    source: Any = stream  # tarfile asks of it just what it has
    try:
        with tarfile.open(fileobj=source, mode="r:", encoding="utf-8", tarinfo=Header) as tar:
            for _ in range(_MOST_MEMBERS):
                found = tar.next()
                if found is None:
                    break
                tar.members.clear()  # type: ignore[attr-defined]  # it would keep them all
                if found.type not in _LEFT_OUT and (member := _member(found)):
                    yield member
            else:
                raise BadImage(f"this layer has more than {_MOST_MEMBERS} files")
    except (tarfile.TarError, ValueError) as error:  # tarfile's own for a sparse map that is none
        raise BadImage(f"this layer is no tar: {error}") from error
    if stream.last.strip(b"\0"):
        raise BadImage("this layer's tar is damaged")


def _member(found: tarfile.TarInfo) -> Member | None:
    """None for what says nothing about files: aufs's notes to itself."""
    kind = _KINDS.get(found.type)
    if kind is None:
        raise BadImage(f"{found.name!r} in this layer is of no known kind")
    parts = _parts(found.name)
    parent, name, target = "/".join(parts[:-1]), parts[-1] if parts else "", found.linkname
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
        raise BadImage(f"this layer's root is no directory but a {kind}")
    if kind == "hardlink":
        target = "/".join(_parts(target))
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
        tuple(getattr(found, "sparse", None) or ()),
        _xattrs(found) if found.pax_headers else (),
    )


def _parts(path: str) -> list[str]:
    """A name is relative to the layer's root, also where it begins with `/`."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in path:
        raise BadImage(f"{path!r} in this layer leads out of it")
    return parts


def _xattrs(found: tarfile.TarInfo) -> tuple[tuple[str, bytes], ...]:
    """Capabilities and users' attributes. Never overlayfs's own: those say where else to look for a file."""
    return tuple(
        (name, value.encode("utf-8", "surrogateescape"))
        for key, value in found.pax_headers.items()
        if key.startswith(_XATTR) and (name := key.removeprefix(_XATTR))
        if name == "security.capability"
        or (name.startswith("user.") and not name.startswith("user.overlay."))
    )
