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


def linked(page: Path) -> list[str]:
    """What a page links to in this repository, as it is written there."""
    links = re.findall(r"`[^`<]*<([^>`]+)>`_", page.read_text())
    return [link for link in links if "://" not in link]


@pytest.mark.parametrize("page", PAGES)
def test_the_files_that_a_page_links_to_are_there(page: str) -> None:
    here = ROOT / page

    assert not [link for link in linked(here) if not (here.parent / link).exists()]


def test_every_page_is_led_to_from_the_readme() -> None:
    reached: set[Path] = set()
    found = [ROOT / "README.rst"]
    while found:
        here = found.pop()
        if here in reached:
            continue
        reached.add(here)
        if here.is_dir():
            found += here.glob("*.rst")
        elif here.suffix == ".rst":
            found += [(here.parent / link).resolve() for link in linked(here)]

    assert [page for page in PAGES if ROOT / page not in reached] == []
