"""Layers made to do harm: nothing outside their directory is read, written or changed."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
from made_images import SPARSE, Entry, directory, file, hardlink, layer, special, symlink, unpacked

from netfab.errors import NetfabError
from netfab.images import streams
from netfab.images.config import BadImage
from netfab.images.streams import Stream
from netfab.images.unpack import unpack


@pytest.fixture
def root(sandbox: None) -> Path:
    return Path("/var/lib/layer")


@pytest.fixture
def victim(sandbox: None) -> Path:
    """Something of the host's, which must stay as it is."""
    path = Path("/var/lib/victim")
    path.mkdir()
    (path / "file").write_text("the host's")
    return path


def of_victim(victim: Path) -> object:
    return [(path.name, path.lstat().st_mode, path.read_bytes()) for path in sorted(victim.iterdir())]


@pytest.mark.parametrize("target", ["/var/lib/victim", "../victim", "../../../../../var/lib/victim"])
@pytest.mark.parametrize(
    "last",
    [
        file("link/file", b"evil"),
        file("link/new", b"evil"),
        file("link/.wh.file"),
        file("link/.wh..wh..opq"),
        directory("link/d"),
        symlink("link/s", "x"),
        directory("link", mode=0o777),
    ],
    ids=lambda entry: entry[0].name,
)
def test_a_symlink_leads_to_nothing_outside(root: Path, victim: Path, target: str, last: Entry) -> None:
    before, mode = of_victim(victim), victim.stat().st_mode

    inside = [directory("var/lib/victim"), directory("victim")]
    unpacked(root, layer(*inside, symlink("link", target), last))

    assert of_victim(victim) == before
    assert victim.stat().st_mode == mode
    assert os.listxattr(victim) == []


def test_a_symlink_as_a_files_own_name_is_replaced_and_not_followed(root: Path, victim: Path) -> None:
    unpacked(root, layer(symlink("a", "/var/lib/victim/file"), file("a", b"evil", mode=0o777)))

    assert (victim / "file").read_text() == "the host's"
    assert not (root / "a").is_symlink()


def test_a_descriptor_of_a_directory_that_became_a_symlink_is_not_used(root: Path, victim: Path) -> None:
    unpacked(
        root,
        layer(directory("e"), directory("d"), file("d/a"), symlink("d", "/e"), file("d/file", b"evil")),
    )

    assert (root / "e/file").read_bytes() == b"evil"


def test_a_symlink_to_what_only_the_host_has_is_refused(root: Path, victim: Path) -> None:
    with pytest.raises(BadImage, match="does not have"):
        unpacked(root, layer(symlink("d", "/var/lib/victim"), file("d/file", b"evil")))

    assert (victim / "file").read_text() == "the host's"


@pytest.mark.parametrize("target", ["/var/lib/victim/file", "link/file"])
def test_a_hard_link_is_made_to_the_layers_own_files_only(root: Path, victim: Path, target: str) -> None:
    with pytest.raises(NetfabError, match="can't unpack"):
        unpacked(root, layer(symlink("link", "/var/lib/victim"), hardlink("a", target)))

    assert (victim / "file").stat().st_nlink == 1


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/../evil", "a/.."])
def test_names_that_lead_up_are_refused(root: Path, name: str) -> None:
    for entry in (file(name, b"evil"), directory(name), hardlink("x", name)):
        with pytest.raises(BadImage, match="leads out"):
            unpack(Stream(io.BytesIO(layer(file("x0"), entry))), str(make(root)), lambda: None)

    assert not Path("/var/lib/evil").exists()


def make(root: Path) -> Path:
    root.mkdir(exist_ok=True)
    return root


def test_an_absolute_name_is_the_layers_own(root: Path, victim: Path) -> None:
    unpacked(root, layer(file("/var/lib/victim/file", b"evil")))

    assert (victim / "file").read_text() == "the host's"
    assert (root / "var/lib/victim/file").read_bytes() == b"evil"


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "d/.wh."])
def test_a_whiteout_of_everything_is_refused(root: Path, name: str) -> None:
    with pytest.raises(BadImage, match="hide all"):
        unpacked(root, layer(file(name)))


@pytest.mark.parametrize("entry", [file("."), symlink("./", "/etc"), special("/", tarfile.FIFOTYPE)])
def test_a_root_that_is_no_directory_is_refused(root: Path, entry: Entry) -> None:
    with pytest.raises(BadImage, match="not a directory"):
        unpacked(root, layer(entry))


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_devices_are_left_out_whiteouts_made_by_hand_too(root: Path, kind: bytes) -> None:
    unpacked(root, layer(special("sda", kind, devmajor=8), special("white", kind), file("a")))

    assert os.listdir(root) == ["a"]


def test_a_kind_that_nobody_knows_is_refused(root: Path) -> None:
    with pytest.raises(BadImage, match="no known kind"):
        unpacked(root, layer(special("x", b"Z")))


def with_size(tar: bytes, size: str) -> bytes:
    """The first header with another size, and a checksum that is right."""
    info = bytearray(tar[:512])
    info[124:136] = size.encode().ljust(12, b"\0")
    info[148:156] = b" " * 8
    info[148:156] = f"{sum(info):06o}\0 ".encode()
    return bytes(info) + tar[512:]


def test_a_size_that_is_a_lie_takes_no_disk(root: Path) -> None:
    with pytest.raises(BadImage, match="is truncated"):
        unpacked(root, with_size(layer(file("a", b"x")), "77777777777"))

    assert sum(path.stat().st_blocks for path in root.iterdir()) < 100


def test_a_header_that_is_huge_is_not_read(root: Path) -> None:
    tar = layer(file("a", b"x", pax_headers={"comment": "y" * 100}))

    with pytest.raises(BadImage, match="header of"):
        unpacked(root, with_size(tar, "77777777777"))


def test_a_bomb_is_given_up(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MOST", 1 << 20)
    root.mkdir()
    stream = Stream(io.BytesIO(layer(file("a", bytes(2 << 20)))), 1 << 20)

    with pytest.raises(BadImage, match="larger than"):
        unpack(stream, str(root), lambda: None)


def test_a_tar_that_is_damaged_in_the_middle_is_refused(root: Path) -> None:
    tar = layer(file("a"), file("b"))

    with pytest.raises(BadImage, match="damaged"):
        unpacked(root, tar[:512] + b"x" * 512 + tar[1024:])


def test_a_sparse_file_without_a_map_is_refused(root: Path) -> None:
    with pytest.raises(BadImage, match="not a tar"):
        unpacked(root, layer(file("a", b"x", pax_headers=SPARSE)))


def test_a_sparse_file_that_no_disk_could_hold_is_refused(root: Path) -> None:
    huge = {"GNU.sparse.map": f"{1 << 70},0", "GNU.sparse.size": "5"}

    with pytest.raises(NetfabError, match="can't unpack /a"):
        unpacked(root, layer(file("a", b"x", pax_headers=huge)))


def test_owners_that_there_cant_be_are_refused(root: Path) -> None:
    with pytest.raises(BadImage, match="owner"):
        unpacked(root, layer(file("a", uid=0xFFFFFFFF)))


def test_times_that_there_cant_be_are_none(root: Path) -> None:
    for number, mtime in enumerate(("nan", "inf", "-1e300", "1e300")):
        unpacked(root / str(number) if number else root, layer(file("a", pax_headers={"mtime": mtime})))

    assert (root / "a").stat().st_mtime == 0
