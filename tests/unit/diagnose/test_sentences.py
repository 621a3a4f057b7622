"""What sentences of `checks` come to of a fabric as it was applied."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from netfab.cli.check import _write_junit
from netfab.diagnose.trials import Verdict, refuse_unknown_ends
from netfab.errors import Location, NetfabError
from netfab.topology.checks import parsed_check

SUMMARY = {
    "nodes": {
        name: {"addresses": {"lan": [f"10.0.0.{number}"]}} for number, name in enumerate(("web", "db"), 2)
    },
    "networks": {"lan": {"gateways": ["10.0.0.1"]}},
}


@pytest.mark.parametrize(
    ("sentence", "told"),
    [
        ("r2 reaches web", "no node r2 was applied"),
        ("web does not reach r2", "no node r2 was applied"),
        ("web reaches db via r2", "no node r2 was applied"),
        ("10.0.0.9 does not reach web", "no node has 10.0.0.9"),
    ],
)
def test_what_the_fabric_does_not_have_is_named_and_not_tried_from_elsewhere(
    sentence: str, told: str
) -> None:
    checks = [parsed_check(each, Location("", 1, 1, "")) for each in ("web reaches 10.0.0.9", sentence)]

    with pytest.raises(NetfabError, match=f"^`{sentence}`: {told}"):
        refuse_unknown_ends(checks, SUMMARY)


def test_what_was_not_tried_is_an_error_to_ci_and_no_failure(tmp_path: Path) -> None:
    found = [Verdict(name, holds, "why", 0.0) for name, holds in (("a", True), ("b", False), ("c", None))]

    _write_junit(str(tmp_path / "f.xml"), "shop", found)

    suite = ElementTree.parse(tmp_path / "f.xml").getroot()
    assert (suite.get("failures"), suite.get("errors")) == ("1", "1")
    assert [[result.tag for result in case] for case in suite] == [[], ["failure"], ["error"]]
