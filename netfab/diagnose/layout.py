"""Where boxes of a graph go: in rows by their distance from the middle, few lines crossing. Pure geometry.

A row is the set of boxes that are equally far from the roots (Sugiyama's layers, without dummies); the order
within rows is by barycentres. Lengths are pixels, places are of upper left corners.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from netfab.tuples import NamedTuple

GAP: Final = 26  # between boxes in a row
ROW_GAP: Final = 64  # between rows
WIDTH: Final = 1800  # where rows wrap
_SWEEPS: Final = 6
_MOST_MEASURED: Final = 400  # boxes in graphs whose center is searched for

Neighbours = Mapping[str, Sequence[str]]


class Box(NamedTuple):
    """A box and its position."""

    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        return self.x + self.width / 2


def arranged(
    sizes: Mapping[str, tuple[float, float]], edges: Iterable[tuple[str, str]]
) -> tuple[dict[str, Box], float, float]:
    """A position for each box by its size; and the overall width and height."""
    neighbours: dict[str, list[str]] = {name: [] for name in sizes}
    for a, b in edges:
        if a != b:
            neighbours[a].append(b)
            neighbours[b].append(a)
    places: dict[str, Box] = {}
    x = y = shelf = widest = 0.0
    for part in _parts(neighbours):
        boxes, width, height = _part(part, sizes, neighbours)
        if x and x + width > WIDTH:
            x, y, shelf = 0.0, y + shelf + ROW_GAP, 0.0
        places |= {name: box._replace(x=box.x + x, y=box.y + y) for name, box in boxes.items()}
        widest, shelf = max(widest, x + width), max(shelf, height)
        x += width + 2 * GAP
    return places, widest, y + shelf


def _parts(neighbours: Neighbours) -> list[list[str]]:
    """The connected components, largest first."""
    left = dict.fromkeys(neighbours)
    parts = []
    while left:
        found = list(_distances([next(iter(left))], neighbours))
        parts.append(found)
        for name in found:
            del left[name]
    return sorted(parts, key=len, reverse=True)


def _distances(roots: Iterable[str], neighbours: Neighbours) -> dict[str, int]:
    """The distance in lines from the nearest root to each reachable box."""
    found = dict.fromkeys(roots, 0)
    queue = list(found)
    for name in queue:  # grows
        for other in neighbours[name]:
            if other not in found:
                found[other] = found[name] + 1
                queue.append(other)
    return found


def _roots(part: Sequence[str], neighbours: Neighbours) -> list[str]:
    """The spines, if any: the boxes with most lines, and none between them; else the center."""
    degrees = {name: len(set(neighbours[name])) for name in part}
    most = max(degrees.values())
    spines = [name for name in part if degrees[name] == most]
    if most > 2 and not any(other in spines for name in spines for other in neighbours[name]):
        return spines
    if len(part) > _MOST_MEASURED:
        return spines[:1]
    return [min(part, key=lambda name: (max(_distances([name], neighbours).values()), -degrees[name]))]


def _part(
    part: Sequence[str], sizes: Mapping[str, tuple[float, float]], neighbours: Neighbours
) -> tuple[dict[str, Box], float, float]:
    distances = _distances(_roots(part, neighbours), neighbours)
    rows: list[list[str]] = [[] for _ in range(max(distances.values()) + 1)]
    for name in distances:
        rows[distances[name]].append(name)
    _untangle(rows, neighbours)
    lines = [line for row in rows for line in _broken(row, sizes)]
    widths = [sum(sizes[name][0] + GAP for name in line) - GAP for line in lines]
    widest, y = max(widths), 0.0
    boxes: dict[str, Box] = {}
    for line, width in zip(lines, widths, strict=True):
        x, height = (widest - width) / 2, max(sizes[name][1] for name in line)
        for name in line:
            boxes[name] = Box(x, y + (height - sizes[name][1]) / 2, *sizes[name])
            x += sizes[name][0] + GAP
        y += height + ROW_GAP
    return boxes, widest, y - ROW_GAP


def _untangle(rows: list[list[str]], neighbours: Neighbours) -> None:
    """Sort each row by the mean position of neighbours, from above and from below in turn."""
    place = {name: index / len(row) for row in rows for index, name in enumerate(row)}
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for index in range(1, len(rows)) if down else range(len(rows) - 2, -1, -1):
            row, other = rows[index], set(rows[index - 1 if down else index + 1])
            means = {}
            for name in row:
                near = [place[each] for each in neighbours[name] if each in other]
                means[name] = sum(near) / len(near) if near else place[name]
            row.sort(key=means.__getitem__)
            place.update({name: at / len(row) for at, name in enumerate(row)})


def _broken(row: Sequence[str], sizes: Mapping[str, tuple[float, float]]) -> list[list[str]]:
    """A row split into lines of similar width, none wider than a page unless a single box is."""
    total = sum(sizes[name][0] + GAP for name in row)
    most = total / -(-total // WIDTH)
    lines: list[list[str]] = [[]]
    width = 0.0
    for name in row:
        if lines[-1] and width + sizes[name][0] / 2 > most:
            lines.append([])
            width = 0.0
        lines[-1].append(name)
        width += sizes[name][0] + GAP
    return lines
