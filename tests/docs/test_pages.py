"""Every page is whole: it renders without a warning, and what it links to is there."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from docutils.core import publish_string

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    str(page.relative_to(ROOT))
    for part in ("*.rst", "docs/**/*.rst", "tests/**/*.rst")
    for page in ROOT.glob(part)
)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_renders_without_a_warning(page: str) -> None:
    warnings = io.StringIO()

    publish_string(
        (ROOT / page).read_text(), settings_overrides={"warning_stream": warnings, "report_level": 2}
    )

    assert not warnings.getvalue()


@pytest.mark.parametrize("page", PAGES)
def test_the_files_that_a_page_links_to_are_there(page: str) -> None:
    links = re.findall(r"`[^`<]*<([^>`]+)>`_", (ROOT / page).read_text())

    assert not [
        link for link in links if "://" not in link and not (ROOT / page).parent.joinpath(link).exists()
    ]
