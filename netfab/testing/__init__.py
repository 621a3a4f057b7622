"""Fabrics in pytest: the plugin (`plugin.py`), and the types of its fixtures, for annotations."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netfab.testing.fabric import Fabric
    from netfab.testing.link import Link
    from netfab.testing.node import Node

__all__ = ["Fabric", "Link", "Node"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f"netfab.testing.{name.lower()}"), name)
    raise AttributeError(f"module 'netfab.testing' has no attribute {name!r}")
