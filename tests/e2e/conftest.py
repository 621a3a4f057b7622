"""Every test has its own throw-away host, in which the installed command runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import Lab, throwaway_host


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    assert os.geteuid() == 0, "these tests need root: they start programs as netfab does"
    with throwaway_host(tmp_path) as host:
        yield host
