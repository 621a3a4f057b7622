"""What `netfab info` prints: versions, this host's features, and the amount of state on it."""

from __future__ import annotations

import json
import os
from collections import Counter
from contextlib import suppress
from typing import Any

from netfab import __version__
from netfab.errors import Unsupported
from netfab.kernel import nft
from netfab.nodes.by_name import programs
from netfab.runtime.cgroups import LIMITED, mounted
from netfab.where import HERE, Where, records


def info(where: Where = HERE) -> dict[str, Any]:
    """As plain data; memory in bytes. `programs`: counts by state, over all fabrics; None: needs root."""
    import platform  # the import takes 5 ms

    known, root = records(where), os.geteuid() == 0
    return {
        "netfab": __version__,
        "python": platform.python_version(),
        "linux": platform.release(),
        "architecture": platform.machine(),
        "nft": _nft(),
        "cpus": os.cpu_count() or 1,
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "limits": _limits(),
        "state": where.state,
        "run": where.run,
        "fabrics": len(known),
        "nodes": sum(len(json.loads(record.summary)["nodes"]) for record in known),
        "programs": dict(Counter(program["state"] for program in programs(where))) if root else None,
    }


def _nft() -> str:
    """nft's version; "" if it is missing."""
    with suppress(Unsupported):
        return nft.version()
    return ""


def _limits() -> dict[str, str]:
    """The resource limits that programs can have here, and the cgroup version of each."""
    found = mounted()
    kept = dict.fromkeys(sorted(LIMITED & found.v2_controllers), "v2")
    return kept | dict.fromkeys(sorted(LIMITED & found.v1.keys()), "v1")
