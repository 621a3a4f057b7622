"""Managers of containers for a test, in its throw-away host."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from managers import cgroups, make_root, mounted

from netfab.system.process import user_namespace_is_initial


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    return make_root(tmp_path / "rootfs")


@pytest.fixture
def group(sandbox: None, request: pytest.FixtureRequest) -> Iterator[str]:
    """A group that is ours, in cgroups of one version only: the one that a test asks for, or there is."""
    if not user_namespace_is_initial():
        pytest.skip("managers of containers need the machine's root")
    kind = getattr(request, "param", "cgroup" if mounted("cgroup") else "cgroup2")
    if not mounted(kind):
        pytest.skip(f"this machine has no {kind}")
    with cgroups(kind) as name:
        yield name
