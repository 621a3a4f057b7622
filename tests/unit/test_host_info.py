"""What `netfab info` says of a host."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netfab.queries.info import info
from netfab.where import Where


def test_an_ordinary_user_is_told_all_but_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    found = info(Where(str(tmp_path / "state"), str(tmp_path / "run")))

    assert (found["fabrics"], found["nodes"], found["programs"]) == (0, 0, None)
