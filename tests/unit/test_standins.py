"""What click and yaml were imported without is there when it is asked for, and nobody else misses it."""

from __future__ import annotations

import subprocess
import sys

IMPORTED = """\
import sys
from netfab.cli.standins import import_click, import_yaml
import_click()
import_yaml()
import click
import yaml
"""


def after(statements: str, before: str = "") -> None:
    """Run that in an interpreter of its own, which has imported click and yaml in our way."""
    subprocess.run([sys.executable, "-c", f"{before}{IMPORTED}{statements}"], check=True)


def test_who_imports_such_a_module_later_gets_it_whole() -> None:
    after("""\
import gettext, inspect, re, uuid
assert [inspect.signature(uuid.UUID), gettext.translation, type(re.compile("a")) is re.Pattern]
assert all(module.__spec__.loader for module in (gettext, inspect, re, uuid))
""")


def test_who_had_such_a_module_before_keeps_it() -> None:
    after(
        "assert all(sys.modules[name] is had[name] for name in had)",
        "import inspect, re, sys, uuid\nhad = {**sys.modules}\n",
    )


def test_click_cleans_help_of_several_lines_and_asks_what_a_function_is() -> None:
    after("""\
assert click.Option(["-a"], help="one\\n    two").help == "one\\ntwo"
ctx = click.Context(click.Command("c"))
assert "(dynamic)" in click.Option(["-a"], default=lambda: 1, show_default=True).get_help_record(ctx)[1]
""")


def test_click_makes_uuids_of_words() -> None:
    after("""\
import uuid
word = "12345678123456781234567812345678"
assert click.UUID.convert(word, None, None) == uuid.UUID(word)
assert click.UUID.convert(uuid.UUID(word), None, None) == uuid.UUID(word)
""")


def test_yaml_still_tells_dates_and_numbers_and_refuses_what_nobody_can_print() -> None:
    after("""\
from netfab.cli.standins import Pattern
assert type(yaml.reader.Reader.NON_PRINTABLE) is Pattern  # it has not compiled it
assert yaml.safe_load("!!binary aGVsbG8=") == b"hello"
assert [*map(str, yaml.safe_load("[2001-12-14, 0x10, 1.5, yes]"))] == ["2001-12-14", "16", "1.5", "True"]
try:
    yaml.safe_load("a: \\x01")
except yaml.reader.ReaderError:
    sys.exit()
raise AssertionError("a control character was read")
""")
