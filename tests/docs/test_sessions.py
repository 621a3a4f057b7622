"""The commands that docs/attach.rst and docs/run.rst begin with work, one after the other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

from netfab.hosts import sandbox

ROOT = Path(__file__).parents[2]
NETFAB = Path(sys.executable).parent / "netfab"
# In the place of who types, and of who waits for what comes.
ALONE = {"exec -it web sh": "exec web true", "logs -f web": "logs web"}


def first_block(page: str) -> str:
    """Commands, of which each has to succeed."""
    text = (ROOT / "docs" / page).read_text()
    found = re.search(r"::\n\n((?:    netfab .*\n)+)", text)
    assert found is not None
    block = textwrap.dedent(found[1])
    for shown, played in ALONE.items():
        block = block.replace(shown, played)
    return block.replace("netfab ", f"{NETFAB} ")


def test_what_the_pages_begin_with_works() -> None:
    script = f"ip netns add web\n{first_block('attach.rst')}ip netns delete web\n{first_block('run.rst')}"

    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = sandbox.run(lambda: subprocess.run(["sh", "-exc", script], check=False).returncode)
        finally:
            os._exit(code)

    assert os.waitpid(child, 0)[1] == 0
