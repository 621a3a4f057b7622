"""Containers for a test, in its throw-away host, with a network namespace. Nothing may be left of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from containers import Containers


@pytest.fixture
def containers(tmp_path: Path) -> Iterator[Containers]:
    made = Containers(tmp_path)
    try:
        yield made
    finally:
        made.close()
    assert made.leftovers() == []
    made.wait_for_supervisors()
