"""A picture as a self-contained HTML page; pointing at something shows its details."""

from __future__ import annotations

from html import escape
from typing import Final

from netfab.diagnose.picture import Picture, Shape
from netfab.diagnose.svg import svg

_STYLE: Final = """\
body { margin: 0; font: 14px system-ui, sans-serif; background: #fff; color: #1c2733 }
header { padding: 14px 24px; display: flex; gap: 18px; align-items: baseline; flex-wrap: wrap }
h1 { font-size: 18px; margin: 0 }
header span { opacity: .7 }
main { overflow: auto }
svg { display: block; margin: auto; max-width: none }
#tip { position: fixed; display: none; pointer-events: none; white-space: pre; padding: 8px 11px;
  border-radius: 6px; font: 12px ui-monospace, Menlo, Consolas, monospace;
  background: #1c2733; color: #f4f7fa; border: 1px solid #5c6b7a; z-index: 1 }
@media (prefers-color-scheme: dark) { body { background: #12181f; color: #e4ebf2 } }
"""
# Titles become a box at the pointer without delay; without scripts they remain the browser's tooltips.
_SCRIPT: Final = """\
const tip = document.getElementById("tip"), lines = [...document.querySelectorAll("g.line")];
for (const title of document.querySelectorAll("svg title")) {
  title.parentNode.dataset.tip = title.textContent;
  title.remove();
}
let held = null;
document.addEventListener("mousemove", event => {
  const group = event.target.closest("[data-tip]");
  if (group !== held) {
    held = group;
    const name = group && group.dataset.name;
    for (const line of lines)
      line.classList.toggle("lit", !!name && (line.dataset.a === name || line.dataset.b === name));
  }
  tip.style.display = group ? "block" : "none";
  if (!group) return;
  tip.textContent = group.dataset.tip;
  tip.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8)) + "px";
  tip.style.top = Math.max(4, Math.min(event.clientY + 16, innerHeight - tip.offsetHeight - 8)) + "px";
});
"""


def page(picture: Picture) -> str:
    """HTML in which hovering over a box shows its addresses, and highlights its lines."""
    title = escape(picture.title)
    return f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{_STYLE}</style>
</head>
<body>
<header><h1>{title}</h1><span>{_counts(picture)}</span></header>
<main>
{svg(picture)}</main>
<div id="tip"></div>
<script>
{_SCRIPT}</script>
</body>
</html>
"""


def _counts(picture: Picture) -> str:
    """`2 networks, 5 nodes, 1 link`."""
    counted = {
        "network": sum(shape.kind == "network" for shape in picture.shapes.values()),
        "node": sum(map(_nodes_of, picture.shapes.values())),
        "link": picture.links,
    }
    return ", ".join(f"{count} {what}{'' if count == 1 else 's'}" for what, count in counted.items() if count)


def _nodes_of(shape: Shape) -> int:
    return len(shape.inside) + (shape.kind in ("node", "router"))
