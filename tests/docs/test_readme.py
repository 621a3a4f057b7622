"""The README's session is run, not believed: in a sandbox, its output compared with what is printed there.

So is that of docs/diagnose.rst, in the middle of it, where something is wrong.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

from netfab.hosts import sandbox

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.rst").read_text()


DIAGNOSE = (ROOT / "docs" / "diagnose.rst").read_text()


def session(text: str, before: str) -> list[tuple[str, str]]:
    """(command, expected output) of every `# command` in the block after those words."""
    block = text.split(f"{before}::\n\n")[1].split("\n\n")[0]
    lines = textwrap.dedent(block).splitlines()
    steps: list[tuple[str, list[str]]] = []
    for line in lines:
        if line.startswith("# "):
            steps.append((line[2:], []))
        else:
            steps[-1][1].append(line)
    return [(command, "\n".join(output)) for command, output in steps]


def run(command: str) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = os.environ | {"PATH": path}
    done = subprocess.run(command, shell=True, text=True, cwd=ROOT, capture_output=True, env=env, check=False)
    return re.sub(r"/\S+/topologies/", "/root/netfab/topologies/", done.stdout + done.stderr).rstrip("\n")


def played(steps: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """What the commands print, in a sandbox of their own after `netfab apply`."""
    reading, writing = os.pipe()

    def inside() -> int:
        os.close(reading)
        run("netfab apply topologies/quickstart.yaml")
        with os.fdopen(writing, "w") as answer:
            for command, _ in steps:
                answer.write(f"\0{command}\1{run(command)}")
        return 0

    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = sandbox.run(inside)
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    answers = (step.partition("\1") for step in text.split("\0")[1:])
    return [(command, output) for command, _, output in answers]


def test_the_quickstart_prints_what_the_pages_show() -> None:
    steps = session(README, "What it does")
    damage = next(number for number, (command, _) in enumerate(steps) if "eth0 down" in command)
    steps[damage + 1 : damage + 1] = session(DIAGNOSE, "and its remedy")

    assert len(steps) > 6
    assert played(steps) == steps


def test_the_quickstart_is_the_file_that_the_readme_shows() -> None:
    shown = README.split(".. code-block:: yaml\n\n")[1].split("\nWhat it does")[0]
    text = "\n".join(line.removeprefix("    ") for line in shown.splitlines())

    assert text.strip() in (ROOT / "topologies" / "quickstart.yaml").read_text()
