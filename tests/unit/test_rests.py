"""Whatever is waited for is waited for by its event: nothing in netfab sleeps."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import netfab

_ROOT = Path(netfab.__file__).parent


def test_no_module_of_netfab_sleeps() -> None:
    asleep = [
        f"{path.relative_to(_ROOT)}:{line}"
        for path in sorted(_ROOT.rglob("*.py"))
        for line in _sleeping(ast.parse(path.read_text()))
    ]

    assert asleep == []


def _sleeping(module: ast.Module) -> Iterator[int]:
    for node in ast.walk(module):
        called = isinstance(node, ast.Attribute) and node.attr == "sleep"
        if called or (isinstance(node, ast.ImportFrom) and "sleep" in [alias.name for alias in node.names]):
            yield node.lineno
