"""JSON without the module `json`: the same values, texts and errors."""

from __future__ import annotations

import json as usual
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as some

from netfab.system import json

_VALUES = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False) | some.text(),
    lambda inner: some.lists(inner) | some.dictionaries(some.text(), inner),
)
_SCRIPT = """\
import sys
from netfab.system.json import loads
assert "json" not in sys.modules
try:
    loads("{")
except ValueError:
    print("refused")
"""


@given(_VALUES)
def test_it_is_written_and_read_as_json_does(value: object) -> None:
    assert json.dumps(value) == usual.dumps(value)
    assert json.loads(usual.dumps(value)) == value
    assert json.loads(usual.dumps(value).encode()) == value


def test_space_around_a_value_is_fine() -> None:
    assert json.loads(' {"a": 1}\n') == {"a": 1}


@pytest.mark.parametrize("text", ["", "{", '{"a": 1', "[1,", '"', "1 2", "nul", b"\xff"])
def test_what_is_no_json_is_an_error(text: str | bytes) -> None:
    with pytest.raises((usual.JSONDecodeError, UnicodeDecodeError)):
        json.loads(text)


def test_it_is_one_also_where_nobody_has_imported_json() -> None:
    ran = subprocess.run([sys.executable, "-c", _SCRIPT], check=True, capture_output=True, text=True)

    assert ran.stdout == "refused\n"
