"""The tests that README and docs/testing.rst show pass as they are, and its recipes keep what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FAILS = """
import pytest

@pytest.mark.netfab("networks: {lan: {}}\\nnodes: {a: {networks: [lan]}}\\n")
def test_it(netfab):
    assert False
"""
CODE = r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)"


@pytest.mark.parametrize("page", ["README.rst", "docs/testing.rst"])
def test_a_test_that_a_page_shows_passes(page: str, tmp_path: Path) -> None:
    (code,) = re.findall(CODE, (ROOT / page).read_text())
    (tmp_path / "test_it.py").write_text(textwrap.dedent(code))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")

    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stdout


def recipe(service: str) -> tuple[list[str], list[str]]:
    """The commands of a job that a page shows, and the paths that it keeps."""
    shown = (ROOT / "docs" / "testing.rst").read_text().split(f"\n{service}\n---")[1]
    (code, *_) = re.findall(CODE.replace("python", "yaml"), shown)
    page = yaml.safe_load(textwrap.dedent(code))
    if service == "GitLab":
        job = page["network"]
        kept = [*job["artifacts"]["paths"], *job["artifacts"]["reports"].values()]
        return [*job["before_script"], *job["script"]], kept
    steps = page["jobs"]["network"]["steps"]
    uploads = [step["with"]["path"] for step in steps if "upload-artifact" in step.get("uses", "")]
    return [step["run"] for step in steps if "run" in step], uploads


@pytest.mark.parametrize("service", ["GitHub Actions", "GitLab"])
def test_a_recipe_keeps_what_a_failed_test_leaves(service: str, tmp_path: Path) -> None:
    commands, kept = recipe(service)
    (command,) = (each for each in commands if each.startswith("pytest"))
    (tmp_path / "test_it.py").write_text(FAILS)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    ran = subprocess.run(
        command.replace("auto", "1"), shell=True, cwd=tmp_path, env=os.environ | {"PATH": path}, check=False
    )

    assert ran.returncode == 1
    assert kept
    assert [path for path in kept if not (tmp_path / path).exists()] == []
    assert any("nftables" in each for each in commands)
