"""The commands that README and docs show are netfab's: each verb and each option of them is there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click
import pytest

from netfab.cli import main

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.rst", *sorted((ROOT / "docs").glob("*.rst")))
IN_TEXT = r"``netfab ([^`]+)``"
IN_BLOCK = r"(?m)^ +(?:# )?netfab (.+)$"
THEIRS = r"\s(?:--|&&|\|\|?|>|;)\s.*"  # what follows is another program's, or the shell's


def shown() -> Iterator[str]:
    for page in PAGES:
        text = page.read_text()
        for command in re.findall(IN_TEXT, text) + re.findall(IN_BLOCK, text):
            yield re.sub(THEIRS, "", re.sub(r"\s+", " ", command)).translate({ord("["): None, ord("]"): None})


@pytest.mark.parametrize("command", sorted(set(shown())))
def test_a_command_that_a_page_shows_is_there_with_its_options(command: str) -> None:
    name, *words = shlex.split(command)
    group = click.Context(main.cli, obj={})
    found = main.cli.get_command(group, name)
    assert found is not None

    with suppress(click.MissingParameter):  # a verb that is only spoken of
        found.make_context(name, words, parent=group)
