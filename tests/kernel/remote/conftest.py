"""Two far hosts on one wire, and a file for both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from far import Far, far_hosts
from far_shop import Shop

from netfab.remote.forked import Forked
from netfab.remote.party import Connect


@pytest.fixture
def fars(sandbox: None) -> Iterator[dict[str, Far]]:
    with far_hosts("h1", "h2") as made:
        yield made


@pytest.fixture
def entering(fars: dict[str, Far]) -> Connect:
    """The way to a host by entering it; the messages are those that ssh would carry."""
    return lambda host, _, where: Forked(where, fars[host].enter)


@pytest.fixture
def shop(tmp_path: Path, entering: Connect) -> Shop:
    return Shop(tmp_path, entering)
