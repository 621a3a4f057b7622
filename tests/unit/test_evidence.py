"""What is kept of a fabric whose test failed, and says why."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from netfab.testing import evidence


def fabric(*timeline: str) -> Any:
    """One in which all is well."""

    def call(function: Any, *_: object) -> Any:
        return [] if function is evidence.whole.drift else {}

    return SimpleNamespace(
        name="lab",
        hosts=(),
        failures=[],
        unanswered={},
        checks=(),
        verdicts=lambda sentences: [],
        timeline=[(float(number), what) for number, what in enumerate(timeline)],
        sandbox=SimpleNamespace(call=call),
        shown=lambda: ("", ""),
        programs=(),
        recorder=None,
    )


def test_what_a_test_did_and_undid_is_told_where_all_is_well_again(tmp_path: Path) -> None:
    done = ["applied", "test one", "link b - lan down", "test two", "partition: a | b", "healed"]

    evidence.keep(fabric(*done), tmp_path / "kept", tmp_path)

    assert (tmp_path / "kept" / "why.txt").read_text() == (
        "now every check that was tried holds, and all is as it was applied; before, in this test:\n"
        "  partition: a | b\n"
        "  healed\n"
    )


def test_of_a_test_that_polls_the_last_steps_are_told(tmp_path: Path) -> None:
    polled = [f"client: GET / of web: 503 ({number})" for number in range(500)]

    evidence.keep(fabric("test one", *polled, "partition: a | b"), tmp_path / "kept", tmp_path)

    told = (tmp_path / "kept" / "why.txt").read_text().splitlines()
    assert told[1] == "  (481 steps, in timeline.txt)"
    assert (len(told), told[-1]) == (22, "  partition: a | b")
