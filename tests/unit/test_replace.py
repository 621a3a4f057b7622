"""Files that are replaced as a whole."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from netfab.system.replace import create_for_good, replace_file, replace_for_good, replacing


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    before = os.umask(0o077)
    yield tmp_path / "record"
    os.umask(before)


def test_a_write_that_fails_leaves_the_file_as_it_was_and_nothing_beside_it(path: Path) -> None:
    path.write_text("before")

    with pytest.raises(TypeError), replacing(str(path)) as file:
        file.writelines(["half", None])  # type: ignore[list-item]

    assert path.read_text() == "before"
    assert os.listdir(path.parent) == ["record"]


def test_a_file_that_does_not_fit_is_named(path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        with pytest.raises(OSError, match="too large") as refused:
            replace_file(str(path), "text")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert refused.value.filename == str(path)
    assert os.listdir(path.parent) == []


def test_a_link_that_lies_beside_the_file_is_not_written_through(path: Path) -> None:
    target = path.parent / "target"
    target.write_text("somebody else's")
    os.symlink(target, f"{path}.new")

    replace_file(str(path), "text")

    assert (path.read_text(), target.read_text()) == ("text", "somebody else's")
    assert not path.is_symlink()


def test_a_file_has_its_mode_whatever_the_umask_of_who_writes_it(path: Path) -> None:
    with replacing(str(path), 0o644):
        pass

    assert path.stat().st_mode & 0o777 == 0o644


def test_what_is_kept_for_good_is_on_the_disk_before_and_its_name_after(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    def fsync(fd: int) -> None:
        steps.append(f"{os.path.basename(os.readlink(f'/proc/self/fd/{fd}'))} {os.listdir(path.parent)}")

    monkeypatch.setattr(os, "fsync", fsync)

    replace_for_good(str(path), "text")

    assert steps == ["record.new ['record.new']", f"{path.parent.name} ['record']"]


def test_what_is_there_already_is_kept_by_who_comes_second(path: Path) -> None:
    for text in ("first", "second"):
        create_for_good(str(path), text, ".1")

    assert path.read_text() == "first"
    assert os.listdir(path.parent) == ["record"]
