"""What all tests share: the directory of shared helpers on the import path, and golden text."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))
# Where they run in the background of a script; they send it to netfab, which ignores what its caller does.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# How long an example takes says nothing on a busy machine, and the same examples come at every run; others do
# with `--hypothesis-profile=default`.
settings.register_profile("netfab", deadline=None, derandomize=True)
settings.load_profile("netfab")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="Write what is expected anew from what is.")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with golden/NAME beside the test; with --update-golden, write it."""

    def compare(name: str, text: str) -> None:
        path = request.path.parent / "golden" / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        assert text == path.read_text()

    return compare
