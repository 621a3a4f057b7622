"""The tests that README and docs/testing.rst show pass as they are."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)"


@pytest.mark.parametrize("page", ["README.rst", "docs/testing.rst"])
def test_a_test_that_a_page_shows_passes(page: str, tmp_path: Path) -> None:
    (code,) = re.findall(CODE, (ROOT / page).read_text())
    (tmp_path / "test_it.py").write_text(textwrap.dedent(code))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")

    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stdout
