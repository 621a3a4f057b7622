"""Every kernel test runs in its own throw-away host; as an ordinary user, all of them in one user namespace.

The machine outside is compared before and after each test: a difference fails the test that made it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from machine import differences, snapshot

from netfab.hosts.local import LocalHost
from netfab.hosts.sandbox import enter, throwaway
from netfab.kernel.userns import become_root


def pytest_configure() -> None:
    if os.geteuid() != 0:
        become_root()
        enter()  # the machine's own namespaces could not be gone back to


@pytest.fixture(autouse=True)
def sandbox() -> Iterator[None]:
    before = snapshot()
    with throwaway():
        yield
    assert differences(before, snapshot()) == []


@pytest.fixture
def host() -> Iterator[LocalHost]:
    with LocalHost("shop") as local:
        yield local
