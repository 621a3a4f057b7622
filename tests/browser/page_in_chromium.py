"""The page of `graph -f html` in a real browser: `tox -e browser`. Needs chromium; no other test does.

Its screenshots are kept below $NETFAB_TEST_SHOTS, to be looked at.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from shutil import which

import pytest

from netfab.diagnose.page import page
from netfab.diagnose.picture import picture_of
from netfab.plan.facts import Facts
from netfab.plan.planner import plan, summary
from netfab.topology.load import load

FIVE = """
networks: {a: {gateway: r}, b: {gateway: r}}
nodes: {r: {}, h1: {networks: [a]}, h2: {networks: [b]}, h3: {networks: [a]}, srv: {}}
links: [[r, srv]]
"""
TWO_HUNDRED = """
networks: {a: {gateway: r1}, b: {gateway: r2}, core: {}}
nodes: {r1..2: {networks: [core]}, a1..100: {networks: [a]}, b1..98: {networks: [b]}}
"""
POINT = """<script>
const target = document.querySelector('[data-name="%s"] > rect');
document.body.dataset.ground = getComputedStyle(document.body).backgroundColor;
target.dispatchEvent(new MouseEvent("mousemove", {bubbles: true, clientX: 9, clientY: 9}));
</script></body>"""


def written(text: str, directory: Path, pointed_at: str) -> Path:
    topology = load(text.encode(), "lab.yaml", "/lab", {})
    picture = picture_of(topology, summary(topology, plan(topology, (), Facts(), "/run/netfab")))
    file = directory / "page.html"
    file.write_text(page(picture).replace("</body>", POINT % pointed_at))
    return file


def chromium(file: Path, *options: str) -> str:
    program = which("chromium") or which("chromium-browser") or which("google-chrome")
    assert program, "chromium is needed: apt-get install chromium"
    return subprocess.run(
        [
            program,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={file.parent}/profile",
            *options,
            file.as_uri(),
        ],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout


@pytest.mark.parametrize(
    ("text", "node", "told"),
    [(FIVE, "h2", "h2\neth0 b 10.0.1.2"), (TWO_HUNDRED, "b98", "b98\neth0 b 10.0.1.99")],
    ids=["five", "two hundred"],
)
def test_pointing_at_a_node_shows_its_addresses(text: str, node: str, told: str, tmp_path: Path) -> None:
    shown = chromium(written(text, tmp_path, node), "--dump-dom")

    tip = shown.split('<div id="tip"')[1].split("</div>")[0]
    assert "display: block" in tip
    assert tip.endswith(told)


def test_pointing_at_a_router_lights_its_lines(tmp_path: Path) -> None:
    shown = chromium(written(FIVE, tmp_path, "r"), "--dump-dom")

    assert len(re.findall(r'class="line [a-z]+ lit"', shown)) == 3


@pytest.mark.parametrize(("scheme", "number"), [("dark", 0), ("light", 1)])
@pytest.mark.parametrize(("size", "text"), [("five", FIVE), ("two-hundred", TWO_HUNDRED)])
def test_it_is_drawn_in_light_and_in_dark(
    size: str, text: str, scheme: str, number: int, tmp_path: Path
) -> None:
    file = written(text, tmp_path, "b" if text is FIVE else "r1")
    shot = Path(os.environ.get("NETFAB_TEST_SHOTS", tmp_path)) / f"{size}-{scheme}.png"
    asked = f"--blink-settings=preferredColorScheme={number}"

    chromium(file, asked, f"--screenshot={shot}", "--window-size=1800,1200")

    assert shot.stat().st_size > 15_000
    ground = "rgb(18, 24, 31)" if scheme == "dark" else "rgb(255, 255, 255)"
    assert f'data-ground="{ground}"' in chromium(file, asked, "--dump-dom")
