"""Directories that everybody may read, where others remove at any time what is empty."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from netfab.system.files import public_directory


@pytest.mark.parametrize("too_late", [False, True], ids=["it", "the one above"])
def test_one_that_others_removed_just_now_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, too_late: bool
) -> None:
    make, made = os.mkdir, list[str]()

    def mkdir(path: str, *mode: Any) -> None:
        made.append(path)
        if len(made) == 2 and too_late:
            (tmp_path / "above").rmdir()
        make(path, *mode)
        if len(made) == 2:
            os.rmdir(path)

    monkeypatch.setattr(os, "mkdir", mkdir)

    public_directory(f"{tmp_path}/above/it")

    assert (tmp_path / "above/it").is_dir()


@pytest.mark.parametrize("there", ["file", "dangling"])
def test_what_is_there_and_no_directory_is_refused(tmp_path: Path, there: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")

    with pytest.raises(NotADirectoryError):
        public_directory(f"{tmp_path}/{there}")


def test_where_nobody_can_make_one_is_told() -> None:
    with pytest.raises(FileNotFoundError):
        public_directory("/proc/one")
