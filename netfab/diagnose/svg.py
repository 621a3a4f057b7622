"""A picture as a self-contained SVG, light or dark as the reader prefers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Final

from netfab.diagnose.layout import Box, arranged
from netfab.diagnose.picture import Line, Picture, Shape

_LETTER: Final = 7.3  # pixels per letter in the font of names
_SMALL: Final = 6.1  # in that of notes
_HEIGHT: Final = 40  # of a node
_PAD: Final = 14
_HEAD: Final = 34  # height above the boxes inside a box
_MARGIN: Final = 24
_STYLE: Final = """\
svg.netfab { --back: #fff; --ink: #1c2733; --soft: #5c6b7a; --node: #f4f7fa; --edge: #8fa1b3; --net: #e6f0fb;
  --rim: #5b93cf; --router: #fdf0dc; --glow: #c7791a; --out: #ececec;
  background: var(--back); font: 12px ui-monospace, Menlo, Consolas, monospace }
@media (prefers-color-scheme: dark) { svg.netfab { --back: #12181f; --ink: #e4ebf2; --soft: #93a4b5;
  --node: #1e2833; --edge: #6d8296; --net: #15283c; --rim: #4d86c4; --router: #3a2c14; --glow: #e2a24a;
  --out: #2a2f35 } }
.netfab text { fill: var(--ink) }
.netfab .note { fill: var(--soft); font-size: 10px }
.netfab rect { stroke-width: 1.2 }
.netfab .node > rect { fill: var(--node); stroke: var(--edge) }
.netfab .router > rect { fill: var(--router); stroke: var(--glow) }
.netfab .network > rect { fill: var(--net); stroke: var(--rim) }
.netfab .outside > rect { fill: var(--out); stroke: var(--soft); stroke-dasharray: 4 3 }
.netfab path { fill: none; stroke: var(--edge); stroke-width: 1.4; stroke-opacity: .75 }
.netfab .member path, .netfab .gateway path { stroke: var(--rim) }
.netfab .gateway path { stroke-width: 2.6 }
.netfab .namespace path { stroke-dasharray: 4 3 }
.netfab path.wide { stroke-opacity: 0; stroke-width: 12 }
.netfab .line:hover path:not(.wide), .netfab .line.lit path:not(.wide) {
  stroke: var(--glow); stroke-width: 3; stroke-opacity: 1 }
.netfab g[data-name]:hover > rect { stroke: var(--glow); stroke-width: 2.4 }
"""


def svg(picture: Picture) -> str:
    """An SVG document; titles of boxes and lines are tooltips in a browser."""
    sizes = {name: _size(shape) for name, shape in picture.shapes.items()}
    places, width, height = arranged(sizes, [(line.a, line.b) for line in picture.lines])
    width, height = width + 2 * _MARGIN, height + 2 * _MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="netfab" width="{width:.0f}" height="{height:.0f}"'
        f' viewBox="{-_MARGIN} {-_MARGIN} {width:.0f} {height:.0f}">\n<style>\n{_STYLE}</style>\n'
        + "".join(f"{line}\n" for line in _drawn(picture, places))
        + "</svg>\n"
    )


def _text_width(shape: Shape) -> float:
    return max(len(shape.name) * _LETTER, len(shape.note) * _SMALL) + 2 * _PAD


def _cells(shape: Shape) -> tuple[int, float]:
    """How many nodes are side by side in a network, and the width of each."""
    width = max([64.0, *(_text_width(each) for each in shape.inside)])
    columns = 1
    while columns * columns * width < len(shape.inside) * _HEIGHT * 1.5:  # until wider than high
        columns += 1
    return min(columns, len(shape.inside)), width


def _size(shape: Shape) -> tuple[float, float]:
    if not _is_group(shape):
        return max(64.0, _text_width(shape)), _HEIGHT
    head = (len(shape.name) + 2) * _LETTER + len(shape.note) * _SMALL + 2 * _PAD
    if not shape.inside:
        return head, _HEAD
    columns, width = _cells(shape)
    rows = -(-len(shape.inside) // columns)
    return max(head, columns * (width + 8) - 8 + 2 * _PAD), _HEAD + rows * (_HEIGHT + 8) - 8 + _PAD


def _drawn(picture: Picture, places: Mapping[str, Box]) -> Iterator[str]:
    """Lines in front of networks, and behind nodes."""
    groups = [shape for shape in picture.shapes.values() if _is_group(shape)]
    for shape in groups:
        yield _group(shape, places[shape.name])
    yield from _drawn_lines(picture.lines, places)
    for shape in groups:
        yield from _boxes_inside(shape, places[shape.name])
    for shape in picture.shapes.values():
        if not _is_group(shape):
            yield _box(shape, places[shape.name])


def _is_group(shape: Shape) -> bool:
    return shape.kind == "network" or bool(shape.inside)


def _group(shape: Shape, box: Box) -> str:
    """A network or a node that has others inside."""
    return (
        f'<g class="{shape.kind}" data-name="{escape(shape.name)}">{_title(shape.details)}{_rect(box, 10)}'
        f'<text x="{box.x + _PAD:.0f}" y="{box.y + 22:.0f}" font-weight="bold">{escape(shape.name)}</text>'
        f'<text class="note" x="{box.x + _PAD + (len(shape.name) + 1) * _LETTER:.0f}" y="{box.y + 22:.0f}">'
        f"{escape(shape.note)}</text></g>"
    )


def _boxes_inside(shape: Shape, box: Box) -> Iterator[str]:
    """The nodes connected only to this group."""
    columns, width = _cells(shape)
    left = box.x + (box.width - columns * (width + 8) + 8) / 2
    for index, each in enumerate(shape.inside):
        row, column = divmod(index, columns)
        place = Box(left + column * (width + 8), box.y + _HEAD + row * (_HEIGHT + 8), width, _HEIGHT)
        yield _box(each, place)


def _box(shape: Shape, box: Box) -> str:
    first = box.y + (17 if shape.note else 24)
    note = _centred(shape.note, box.middle, box.y + 31, ' class="note"') if shape.note else ""
    return (
        f'<g class="{shape.kind}" data-name="{escape(shape.name)}">{_title(shape.details)}{_rect(box, 6)}'
        f"{_centred(shape.name, box.middle, first)}{note}</g>"
    )


def _centred(text: str, x: float, y: float, attributes: str = "") -> str:
    return f'<text{attributes} x="{x:.0f}" y="{y:.0f}" text-anchor="middle">{escape(text)}</text>'


def _rect(box: Box, radius: int) -> str:
    place = f'x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}"'
    return f'<rect {place} rx="{radius}"/>'


def _title(details: Iterable[str]) -> str:
    return f"<title>{escape(chr(10).join(details))}</title>"


def _drawn_lines(lines: Iterable[Line], places: Mapping[str, Box]) -> Iterator[str]:
    """Several lines between the same two boxes are drawn side by side."""
    drawn: dict[tuple[str, str], int] = {}
    for line in lines:
        ends = (min(line.a, line.b), max(line.a, line.b))
        beside = drawn[ends] = drawn.get(ends, -1) + 1
        path = _path(places[line.a], places[line.b], beside * 9)
        yield (
            f'<g class="line {line.kind}" data-a="{escape(line.a)}" data-b="{escape(line.b)}">'
            f'{_title(line.details)}<path class="wide" d="{path}"/><path d="{path}"/></g>'
        )


def _path(a: Box, b: Box, beside: float) -> str:
    """From the lower edge of the upper box to the upper edge of the lower one; below both if side by side."""
    upper, lower = (a, b) if a.y + a.height <= b.y + b.height else (b, a)
    x1, x2 = _towards(upper, lower.middle) + beside, _towards(lower, upper.middle) + beside
    if upper.y + upper.height < lower.y:
        y1, y2 = upper.y + upper.height, lower.y
        bend = (y2 - y1) / 2
        return f"M{x1:.1f} {y1:.1f}C{x1:.1f} {y1 + bend:.1f} {x2:.1f} {y2 - bend:.1f} {x2:.1f} {y2:.1f}"
    y1, y2 = upper.y + upper.height, lower.y + lower.height
    deep = max(y1, y2) + 30
    return f"M{x1:.1f} {y1:.1f}C{x1:.1f} {deep:.1f} {x2:.1f} {deep:.1f} {x2:.1f} {y2:.1f}"


def _towards(box: Box, x: float) -> float:
    """The point on a box's edge that is nearest to x, away from its corners."""
    room = min(16.0, box.width / 4)
    return min(max(x, box.x + room), box.x + box.width - room)
