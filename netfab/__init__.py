"""netfab: networks of containers, from one file.

The public API is that of fabric.py, imported when it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0.dev0"


def __getattr__(name: str) -> Any:
    fabric = import_module("netfab.fabric")
    if name in fabric.__all__:
        return getattr(fabric, name)
    raise AttributeError(f"module 'netfab' has no attribute {name!r}")
