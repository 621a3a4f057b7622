"""Where images of a test are kept, and registries that it makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from made_images import Made
from registries import Registry

from netfab.where import Where


@pytest.fixture
def said() -> list[str]:
    """What was told on the way."""
    return []


@pytest.fixture
def where(sandbox: None, said: list[str], monkeypatch: pytest.MonkeyPatch) -> Where:
    """The test's own host, whose user is logged in nowhere."""
    monkeypatch.setenv("DOCKER_CONFIG", "/var/lib/docker-config")
    Path("/var/lib/docker-config").mkdir()
    return Where(say=said.append, lock_timeout=20)


@pytest.fixture
def registry(sandbox: None) -> Iterator[Callable[..., Registry]]:
    """Makes registries of images, by tags."""
    made: list[Registry] = []

    def make(*images: Made, **tags: Made) -> Registry:
        made.append(Registry(*images, **tags))
        return made[-1]

    yield make
    for one in made:
        one.close()
