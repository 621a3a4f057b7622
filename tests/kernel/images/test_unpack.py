"""A layer unpacked: what overlayfs and the programs in it are to find."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
from pathlib import Path

import pytest
import zstandard
from made_images import directory, file, hardlink, layer, special, symlink, unpacked

from netfab.images.config import BadImage
from netfab.images.streams import Stream
from netfab.system.process import user_namespace_is_initial

OPAQUE = "trusted.overlay.opaque" if user_namespace_is_initial() else "user.overlay.opaque"


@pytest.fixture
def root(sandbox: None) -> Path:
    """On the test's own tmpfs."""
    return Path("/var/lib/layer")


def test_owners_modes_and_times_are_those_of_the_tar(root: Path) -> None:
    unpacked(
        root,
        layer(
            directory("d", mode=0o750, uid=1, gid=2, mtime=1_000_000_000.5),
            file("d/su", b"x", mode=0o4755, uid=0, gid=3, mtime=1_000_000_001),
            symlink("d/link", "/etc/passwd", uid=4, gid=5, mtime=1_000_000_002),
            special("d/pipe", tarfile.FIFOTYPE, mode=0o622),
        ),
    )

    d, su, link, pipe = (os.lstat(root / name) for name in ("d", "d/su", "d/link", "d/pipe"))
    assert (d.st_mode & 0o7777, d.st_mtime_ns) == (0o750, 1_000_000_000_500_000_000)
    assert (su.st_mode & 0o7777, su.st_mtime_ns) == (0o4755, 1_000_000_001_000_000_000)
    assert (os.readlink(root / "d/link"), link.st_mtime_ns) == ("/etc/passwd", 1_000_000_002_000_000_000)
    assert stat.S_ISFIFO(pipe.st_mode)
    assert pipe.st_mode & 0o7777 == 0o622
    if user_namespace_is_initial():
        assert [(found.st_uid, found.st_gid) for found in (d, su, link)] == [(1, 2), (0, 3), (4, 5)]


def test_whiteouts_and_opaque_directories_are_overlayfs_own(root: Path) -> None:
    unpacked(
        root,
        layer(directory("d"), file("d/.wh.gone"), directory("new"), file("new/.wh..wh..opq"), file("new/a")),
    )

    gone = os.lstat(root / "d/gone")
    assert stat.S_ISCHR(gone.st_mode)
    assert gone.st_rdev == 0
    assert os.getxattr(root / "new", OPAQUE) == b"y"
    assert sorted(os.listdir(root / "new")) == ["a"]


@pytest.mark.parametrize("first", ["whiteout", "file"])
def test_a_whiteout_hides_what_is_below_and_not_the_layers_own(root: Path, first: str) -> None:
    both = [file(".wh.a"), file("a", b"own")]

    unpacked(root, layer(*(both if first == "whiteout" else reversed(both))))

    assert (root / "a").read_bytes() == b"own"


def test_a_directory_in_place_of_a_whiteout_shows_nothing_of_what_is_below(root: Path) -> None:
    unpacked(root, layer(file(".wh.d"), directory("d"), file("d/own")))

    assert os.getxattr(root / "d", OPAQUE) == b"y"


def test_notes_of_aufs_are_left_out(root: Path) -> None:
    unpacked(root, layer(file(".wh..wh.aufs"), directory(".wh..wh.plnk"), file("a")))

    assert os.listdir(root) == ["a"]


def test_hard_links_are_one_file(root: Path) -> None:
    unpacked(root, layer(file("a", b"x"), hardlink("b", "a"), hardlink("d/c", "./a"), hardlink("a", "a")))

    assert {os.stat(root / name).st_ino for name in ("a", "b", "d/c")} == {os.stat(root / "a").st_ino}


def test_capabilities_and_users_attributes_are_kept_and_overlayfs_own_are_not(root: Path) -> None:
    ping = bytes.fromhex(
        "0100000200200000000000000000000000000000"
    )  # cap_net_raw+ep, vfs_cap_data revision 2
    attributes = {
        "security.capability": ping,
        "user.note": b"kept",
        "trusted.overlay.redirect": b"/etc",
        "user.overlay.redirect": b"/etc",
        "security.selinux": b"x",
    }

    unpacked(root, layer(file("ping", b"x", mode=0o755, uid=1, xattrs=attributes)))

    assert set(os.listxattr(root / "ping")) <= {"security.capability", "user.note"}
    assert os.getxattr(root / "ping", "user.note") == b"kept"
    assert os.getxattr(root / "ping", "security.capability")[:12].hex()[8:] == ping[:12].hex()[8:]


def test_a_later_member_takes_the_place_of_an_earlier_one(root: Path) -> None:
    unpacked(
        root,
        layer(
            directory("d"),
            file("d/deep/a"),
            file("d", b"now a file"),
            file("f", b"1"),
            file("f", b"2"),
            symlink("s", "f"),
            directory("s"),
            file("s/in"),
        ),
    )

    assert (root / "d").read_bytes() == b"now a file"
    assert (root / "f").read_bytes() == b"2"
    assert os.listdir(root / "s") == ["in"]


def test_parents_that_the_tar_leaves_out_are_made(root: Path) -> None:
    unpacked(root, layer(file("a/b/c", b"x")))

    assert (root / "a/b/c").read_bytes() == b"x"
    assert os.stat(root / "a/b").st_mode & 0o7777 == 0o755


def test_names_may_be_any_bytes(root: Path) -> None:
    long = "n" * 200 + "/" + "m" * 255
    unpacked(root, layer(file(long, b"1"), file("\udcff\udcfe \n", b"2"), file("ä", b"3")))

    assert (root / long).read_bytes() == b"1"
    assert sorted(os.listdir(os.fsencode(root)))[1:] == ["ä".encode(), b"\xff\xfe \n"]


def test_a_sparse_file_has_its_holes(root: Path, tmp_path: Path) -> None:
    source = tmp_path / "sparse"
    with source.open("wb") as holed:
        holed.truncate(1 << 20)
        holed.seek(1 << 19)
        holed.write(b"middle")
    os.system(f"tar -C {tmp_path} -S -cf {tmp_path}/t.tar sparse")

    unpacked(root, (tmp_path / "t.tar").read_bytes())

    assert (root / "sparse").read_bytes() == source.read_bytes()
    assert os.stat(root / "sparse").st_blocks < 1 << 10


@pytest.mark.parametrize(
    "compress",
    [
        gzip.compress,
        zstandard.compress,
        lambda data: gzip.compress(data[:700]) + gzip.compress(data[700:]) + bytes(512),  # pigz, padded
        lambda data: zstandard.compress(data[:700]) + zstandard.compress(data[700:]),
    ],
    ids=["gzip", "zstd", "members", "frames"],
)
def test_compressed_layers_are_known_by_their_tar(root: Path, compress: object) -> None:
    assert callable(compress)
    tar = layer(file("a", b"x" * 10_000))
    stream = Stream(io.BytesIO(compress(tar)))

    assert stream.digest() == Stream(io.BytesIO(tar)).digest()

    unpacked(root, compress(tar))
    assert (root / "a").read_bytes() == b"x" * 10_000


@pytest.mark.parametrize("cut", [100, 700, 5_000])
def test_a_layer_that_ends_in_the_middle_is_refused(root: Path, cut: int) -> None:
    tar = layer(file("a", os.urandom(8_000)))

    with pytest.raises(BadImage):
        unpacked(root, gzip.compress(tar)[:cut])
