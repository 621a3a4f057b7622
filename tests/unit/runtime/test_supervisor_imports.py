"""What a supervisor imports: it stays in memory, and each container's process is a copy of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import netfab

PACKAGE = str(Path(netfab.__file__).parent.parent)
SCRIPT = f"""\
import sys
sys.path.append({PACKAGE!r})
from netfab.runtime import supervisor
print(*sys.modules)
"""
HEAVY = {
    "argparse", "dataclasses", "enum", "glob", "importlib", "inspect", "ipaddress", "json", "logging",
    "pathlib", "random", "re", "selectors", "shutil", "signal", "socket", "subprocess", "tempfile", "termios",
    "threading", "traceback", "typing", "urllib",
}  # fmt: skip


def test_a_supervisor_imports_nothing_heavy() -> None:
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", SCRIPT], check=True, capture_output=True, text=True
    )

    assert not HEAVY.intersection(ran.stdout.split())
