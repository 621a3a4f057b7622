"""Who is begun to trace, and ends with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from netfab.kernel import trace


def test_where_only_one_of_the_two_can_be_begun_it_is_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lasting = tmp_path / "nft"
    lasting.write_text("#!/bin/sh\nexec sleep 10\n")
    lasting.chmod(0o755)
    children = Path("/proc/thread-self/children")
    before, programs = children.read_text(), iter([str(lasting), "/nowhere/nft"])
    monkeypatch.setattr(trace, "program", lambda: next(programs))

    with pytest.raises(FileNotFoundError), trace.tracing([]):
        pass

    assert children.read_text() == before
