"""Every kernel test runs in its own throw-away host; as an ordinary user, all of them in one user namespace.

The machine outside is compared before and after each test: a difference fails the test that made it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import pytest
from examples import gone
from machine import differences, snapshot

from netfab.hosts.local import LocalHost
from netfab.hosts.sandbox import enter, throwaway
from netfab.kernel.userns import become_root


def pytest_configure() -> None:
    if os.geteuid() != 0:
        become_root()
        enter()  # the machine's own namespaces could not be gone back to


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How much the sweeps swept."""
    swept: Counter[str] = Counter()
    for report in terminalreporter.getreports("passed"):
        swept.update(dict(report.user_properties) if report.when == "call" else {})
    if swept:
        terminalreporter.write_line(
            ", ".join(f"{count} {what}" for what, count in sorted(swept.items())) + " swept"
        )


@pytest.fixture(autouse=True)
def sandbox() -> Iterator[None]:
    before = snapshot()
    with throwaway():
        yield
        gone()
    assert differences(before, snapshot()) == []


@pytest.fixture
def host() -> Iterator[LocalHost]:
    with LocalHost("shop") as local:
        yield local
