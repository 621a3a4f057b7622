"""Modules of ours are found at once, and are what importlib would have found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from shutil import copytree

import pytest

import netfab

ASKED = """\
import sys
from netfab.cli.modules import find_quickly
find_quickly()
from netfab import ipam
print(ipam.HELD, type(ipam.__loader__).__name__, ipam.__name__, ipam.__file__, ipam.__cached__)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of what the finder needs, with a module of its own, which was imported before."""
    ours = Path(netfab.__file__).parent
    copy = tmp_path / "netfab"
    copytree(ours / "cli", copy / "cli", ignore=lambda _, names: {*names} - {"__init__.py", "modules.py"})
    (copy / "__init__.py").write_bytes((ours / "__init__.py").read_bytes())
    (copy / "ipam.py").write_text("HELD = 1\n")
    asked(copy)
    return copy


def asked(package: Path) -> str:
    """What the module has and where it is from, by a command of its own."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [sys.executable, "-c", ASKED]
    return subprocess.run(
        command, cwd=package.parent, env=env, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def test_a_compiled_module_is_found_without_importlib_and_looks_as_if_by_it(package: Path) -> None:
    compiled = package / f"__pycache__/ipam.{sys.implementation.cache_tag}.pyc"

    assert asked(package) == f"1 _Loader netfab.ipam {package / 'ipam.py'} {compiled}\n"


def test_a_module_that_changed_is_imported_as_it_is_now(package: Path) -> None:
    (package / "ipam.py").write_text("HELD = 200\n")

    assert asked(package).split()[:2] == ["200", "SourceFileLoader"]
    assert asked(package).split()[:2] == ["200", "_Loader"]  # for which it was compiled again


def test_code_that_is_damaged_or_of_another_python_is_not_taken(package: Path) -> None:
    compiled = package / f"__pycache__/ipam.{sys.implementation.cache_tag}.pyc"
    whole = compiled.read_bytes()

    for spoilt in (b"", whole[:10], b"\0" + whole[1:], whole[:4] + b"\1" + whole[5:]):
        compiled.write_bytes(spoilt)
        assert asked(package).split()[:2] == ["1", "SourceFileLoader"]


def test_code_that_was_compiled_elsewhere_still_says_where_it_is(package: Path) -> None:
    elsewhere = package.rename(package.parent / "first").parent / "second/netfab"
    copytree(package.parent / "first", elsewhere)

    assert asked(elsewhere).split()[:4] == ["1", "SourceFileLoader", "netfab.ipam", f"{elsewhere}/ipam.py"]
