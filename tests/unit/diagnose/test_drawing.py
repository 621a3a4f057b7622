"""A topology drawn: whole in one file, nothing on top of anything else, every address to be pointed at."""

from __future__ import annotations

import re
from functools import cache
from itertools import combinations
from xml.etree import ElementTree

import pytest

from netfab.diagnose.layout import Box, arranged
from netfab.diagnose.page import page
from netfab.diagnose.picture import Picture, picture_of
from netfab.diagnose.svg import svg
from netfab.plan.facts import Facts
from netfab.plan.planner import plan, summary
from netfab.topology.load import load

SVG = "{http://www.w3.org/2000/svg}"
FIVE = """
networks: {a: {gateway: r}, b: {gateway: r}}
nodes: {r: {}, h1: {networks: [a]}, h2: {networks: [b]}, h3: {networks: [a]}, srv: {}}
links: [[r, srv], [r, srv], [srv, host:lab0]]
"""
TWO_HUNDRED = """
networks: {a: {gateway: r1}, b: {gateway: r2}, core: {}, lonely: {internal: true}}
nodes:
  r1..3: {networks: [core]}
  a1..90: {networks: [a]}
  b1..70: {networks: [b]}
  dual1..7: {networks: [a, b]}
  l1..20: {networks: [lonely]}
  s1..10: {}
links: [{between: [r3, s1..10]}, {ring: [r1..3]}]
"""
CLOS = """
nodes: {s1..8: {}, leaf1..32: {}, h1..160: {}}
links:
  - {between: [s1..8, leaf1..32]}
""" + "".join(f"  - [leaf{(n - 1) // 5 + 1}, h{n}]\n" for n in range(1, 161))
SIZES = {"five": FIVE, "two hundred": TWO_HUNDRED, "clos": CLOS}


@cache
def picture(text: str) -> Picture:
    topology = load(text.encode(), "lab.yaml", "/lab", {})
    return picture_of(topology, summary(topology, plan(topology, (), Facts(), "/run/netfab")))


def groups(text: str) -> dict[str, ElementTree.Element]:
    """Each box that is drawn."""
    drawn = ElementTree.fromstring(svg(picture(text)))
    return {each.attrib["data-name"]: each for each in drawn.iter(f"{SVG}g") if "data-name" in each.attrib}


def told(group: ElementTree.Element) -> list[str]:
    return (group.findtext(f"{SVG}title") or "").splitlines()


def box(group: ElementTree.Element) -> Box:
    rect = group.find(f"{SVG}rect")
    assert rect is not None
    return Box(*(float(rect.attrib[key]) for key in ("x", "y", "width", "height")))


def overlap(a: Box, b: Box) -> bool:
    return a.x < b.x + b.width and b.x < a.x + a.width and a.y < b.y + b.height and b.y < a.y + a.height


def within(a: Box, b: Box) -> bool:
    return b.x <= a.x and a.x + a.width <= b.x + b.width and b.y <= a.y and a.y + a.height <= b.y + b.height


@pytest.mark.parametrize("size", SIZES)
def test_every_node_and_network_is_drawn_once(size: str) -> None:
    topology = load(SIZES[size].encode(), "lab.yaml", "/lab", {})
    outside = {"host:lab0"} if size == "five" else set()

    assert groups(SIZES[size]).keys() == {*topology.nodes, *topology.networks, *outside}


@pytest.mark.parametrize("size", SIZES)
def test_no_box_is_on_another_that_it_is_not_inside_of(size: str) -> None:
    boxes = [box(group) for group in groups(SIZES[size]).values()]

    assert not [
        (a, b) for a, b in combinations(boxes, 2) if overlap(a, b) and not within(a, b) and not within(b, a)
    ]


@pytest.mark.parametrize("size", SIZES)
def test_the_whole_picture_is_in_view_and_no_wider_than_a_screen(size: str) -> None:
    drawn = ElementTree.fromstring(svg(picture(SIZES[size])))
    view = Box(*map(float, drawn.attrib["viewBox"].split()))

    assert all(within(box(group), view) for group in groups(SIZES[size]).values())
    assert view.width < 1920


def test_pointing_at_a_box_tells_its_addresses() -> None:
    found = groups(FIVE)

    assert told(found["h1"]) == ["h1", "eth0 a 10.0.0.2"]
    assert told(found["a"])[:3] == ["network a", "10.0.0.0/24", "gateway: r"]
    assert "eth1 b 10.0.1.1" in told(found["r"])


def test_a_node_of_one_network_is_drawn_inside_of_it_and_others_are_not() -> None:
    found = {name: box(group) for name, group in groups(FIVE).items()}

    assert within(found["h1"], found["a"])
    assert not within(found["h1"], found["b"])
    assert not within(found["r"], found["a"])
    assert not within(found["srv"], found["r"])


def test_lines_are_there_for_links_gateways_and_members() -> None:
    drawn = ElementTree.fromstring(svg(picture(FIVE)))
    lines = [each.attrib for each in drawn.iter(f"{SVG}g") if "data-a" in each.attrib]

    assert sorted((each["class"], each["data-a"], each["data-b"]) for each in lines) == [
        ("line gateway", "r", "a"),
        ("line gateway", "r", "b"),
        ("line link", "r", "srv"),
        ("line link", "r", "srv"),
        ("line link", "srv", "host:lab0"),
    ]
    paths = [path.attrib["d"] for path in drawn.iter(f"{SVG}path") if "class" not in path.attrib]
    assert len(set(paths)) == 5


def test_without_a_plan_what_is_written_is_told() -> None:
    topology = load(
        b"{name: x, networks: {a: {}}, nodes: {n: {networks: {a: {ip: 10.1.2.3}}}}}", "-", "/", {}
    )

    assert "10.1.2.3" in svg(picture_of(topology, {}))


@pytest.mark.parametrize("size", SIZES)
def test_a_page_loads_nothing_from_elsewhere(size: str) -> None:
    text = page(picture(SIZES[size])).replace('xmlns="http://www.w3.org/2000/svg"', "")

    assert not re.findall(r"https?:|//|\bsrc=|\bhref=|@import|url\(|<link|<img|fetch\(", text)


def test_the_order_within_rows_leaves_no_line_crossing_where_none_must() -> None:
    lines = [("top", name) for name in ("a0", "a1", "x", "y", "z")]
    lines += [("a0", "b1"), ("a0", "b0"), ("a1", "b1")]  # b1 is found first, and is between a0 and a1
    names = dict.fromkeys(name for line in lines for name in line)

    places, _, _ = arranged({name: (60.0, 40.0) for name in names}, lines)

    assert (places["b0"].x < places["b1"].x) == (places["a0"].x < places["a1"].x)


def test_a_topology_without_nodes_is_drawn() -> None:
    assert ElementTree.fromstring(svg(picture("name: empty\nnetworks: {a: {}}"))) is not None
    assert ElementTree.fromstring(svg(Picture("x", {}, (), 0))) is not None
