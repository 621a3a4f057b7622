"""Files that come part by part from who may be anybody."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from descriptors import descriptors, settled_descriptors

from netfab.remote.copies import bunches, part_of, said
from netfab.remote.messages import BadMessage
from netfab.runtime.parts import Part, Writer, parts
from netfab.runtime.places import Entry, place_in_container, place_on_host


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Entry]:
    (tmp_path / "into").mkdir()
    fd = os.open(tmp_path / "into", os.O_PATH)
    yield Entry(fd, "new")
    os.close(fd)


@pytest.mark.parametrize(
    "stream",
    [
        [Part("content"), Part("file", ("..",))],
        [Part("content"), Part("file", ("../a",))],
        [Part("content"), Part("file", ("",))],
        [Part("content"), Part("directory", ("d",)), Part("file", ("d", "..", "a"))],
        [Part("file", ("a",))],
        [Part("content"), Part("file", ("d", "a"))],
        [Part("content"), Part("directory", ("d",)), Part("file", ("e", "a"))],
        [Part("content"), Part("link", ("l",), target=".."), Part("file", ("l", "a"))],
        [Part("content"), Part("data", data=b"x")],
        [Part("link", target="/"), Part("content")],
    ],
    ids=str,
)
def test_parts_that_lead_elsewhere_are_refused(stream: list[Part], target: Entry, tmp_path: Path) -> None:
    before = settled_descriptors()

    with Writer(target, None) as writer:
        for part in stream[:-1]:
            writer.take(part)
        with pytest.raises((ValueError, OSError)):
            writer.take(stream[-1])

    assert [path.name for path in tmp_path.iterdir()] == ["into"]
    assert descriptors() == before


def test_what_was_sent_in_bunches_is_what_was_read(target: Entry, tmp_path: Path) -> None:
    tree = tmp_path / "into/tree"
    (tree / "d").mkdir(parents=True)
    (tree / "d" / os.fsdecode(b"\xff")).write_bytes(bytes(range(256)) * 5000)
    (tree / "d").chmod(0o700)
    (tree / "link").symlink_to("nowhere")
    os.mkfifo(tree / "pipe")

    with Writer(target, None) as writer:
        for bunch in bunches(parts(Entry(target.directory, "tree"))):
            for words in bunch:
                writer.take(part_of(words))
        left_out = writer.finish()

    assert left_out == ["pipe"]
    new = tmp_path / "into/new"
    assert (new / "d" / os.fsdecode(b"\xff")).read_bytes() == bytes(range(256)) * 5000
    assert (new / "d").stat().st_mode & 0o777 == 0o700
    assert (new / "link").readlink() == Path("nowhere")


def test_a_copy_that_was_killed_at_any_part_is_whole_after_the_next_and_leaves_no_other_name(
    target: Entry, tmp_path: Path
) -> None:
    tree = tmp_path / "into/tree"
    (tree / "d").mkdir(parents=True)
    (tree / "d/big").write_bytes(b"x" * 600_000)
    (tree / "link").symlink_to("d/big")
    (tree / "last").write_bytes(b"y")
    stream = list(parts(Entry(target.directory, "tree")))

    for end in range(1, len(stream)):
        with Writer(target, None) as killed:
            for part in stream[:end]:
                killed.take(part)
        with Writer(target, None) as writer:
            for part in stream:
                writer.take(part)
            writer.finish()
        assert list(parts(Entry(target.directory, "new"))) == stream

    assert sorted(os.listdir(tmp_path / "into")) == ["new", "tree"]


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": "device"}, {"kind": []}, {"path": None}, {"path": [1]}, {"mode": "0644"}, {"accessed": None},
        {"modified": 0.5}, {"data": "no base64"}, {"data": None}, {"target": 1},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_part_is_one_clear_error(changed: dict[str, Any]) -> None:
    words = dict(zip(Part._fields, said(Part("file", ("a",))), strict=True)) | changed

    for wrong in ([*words.values()], [*words.values()][1:], words, None):
        with pytest.raises(BadMessage):
            part_of(wrong)


@pytest.mark.parametrize("name", ["..", "../x", "/x", "d/../../x", ""])
def test_a_name_that_leads_out_of_its_directory_is_refused(name: str, target: Entry, tmp_path: Path) -> None:
    with ExitStack() as closing:
        with pytest.raises(ValueError, match="leads elsewhere"):
            place_in_container(target.directory, "/", name, closing)
        with pytest.raises(ValueError, match="leads elsewhere"):
            place_on_host(str(tmp_path), name, closing)
