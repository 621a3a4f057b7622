"""Who is begun to trace, and ends with it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from own_children import own_children

from netfab.kernel import trace


def nft(directory: Path, says: str) -> str:
    """A program that says something and stays."""
    file = directory / "nft"
    file.write_text(f"#!/bin/sh\n{says}\nexec sleep 120\n")
    file.chmod(0o755)
    return str(file)


def test_where_only_one_of_the_two_can_be_begun_it_is_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before, programs = own_children(), iter([nft(tmp_path, "true"), "/nowhere/nft"])
    monkeypatch.setattr(trace, "program", lambda: next(programs))

    with pytest.raises(FileNotFoundError), trace.tracing([]):
        pass

    assert own_children() <= before


def test_tables_of_others_are_not_waited_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lists = nft(tmp_path, "printf 'table inet theirs\\ntable inet netfab-why\\n'")
    monkeypatch.setattr(trace, "program", lambda: lists)
    monkeypatch.setattr(trace, "_PATIENCE", 60.0)  # seconds: a busy machine is slow
    begun = time.monotonic()

    with trace.tracing([]):
        pass

    assert time.monotonic() - begun < trace._PATIENCE
