"""Directory trees that a guest has filled."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from descriptors import descriptors, settled_descriptors

from netfab.system.trees import make_directories


def test_directories_that_cant_be_made_leave_nothing_open(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    root = os.open(tmp_path, os.O_PATH | os.O_CLOEXEC)
    before = settled_descriptors()

    with pytest.raises(FileExistsError):
        make_directories(root, "link/below")

    assert descriptors() == before
    os.close(root)
