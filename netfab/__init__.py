"""netfab: networks of containers, from one file.

The public API is that of fabric.py, and of what it need not wait for; imported when it is used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in typing, whose import costs a process 0.7 MB

if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0.dev0"


_ELSEWHERE = dict.fromkeys(("kill", "pause", "restart", "start", "stop", "unpause"), "netfab.nodes.lifecycle")
_ELSEWHERE |= dict.fromkeys(("SavedPlan", "read_plan", "save_plan"), "netfab.files.saved_plans")
_ELSEWHERE |= {
    "info": "netfab.queries.info",
    "inhabitants": "netfab.kernel.inhabitants",
    "inspect": "netfab.queries.inspection",
    "recover": "netfab.applying.recovery",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module  # 0.1 MB that a supervisor never needs
    from importlib.machinery import PathFinder

    if name in _ELSEWHERE:
        return getattr(import_module(_ELSEWHERE[name]), name)
    # `from netfab import where` looks here first, and needs no fabric.py. `plan` is a function there, too.
    if name != "plan" and PathFinder.find_spec(f"{__name__}.{name}", __path__):
        raise AttributeError(f"netfab.{name} is a module")
    fabric = import_module("netfab.fabric")
    if name in fabric.__all__:
        return getattr(fabric, name)
    raise AttributeError(f"module 'netfab' has no attribute {name!r}")
