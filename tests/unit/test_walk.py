"""The way of a packet over routers that netfab only knows by what their kernels say."""

from __future__ import annotations

import pytest

from netfab.diagnose.finding import Place
from netfab.diagnose.walk import MOST_HOPS, Walked, walk
from netfab.diagnose.world import Cable, Owner, World
from netfab.objects.view import Link, Space, View, Way

LOCAL = Way(0, "", "", True, "")
LEFT, RIGHT = 1, 2  # interfaces of each router


def link(number: int, name: str) -> Link:
    return Link(number, name, "veth", "", 1500, True, True, 0, 0, False, True, 0)


def walked(routers: int, way: dict[int, int] | None = None, by: int = RIGHT) -> Walked:
    """Over routers in a line to the last one; `way`: those that send it to another than the next.

    `by`: the interface that they send it by.
    """
    spaces = {
        f"r{at}": Space(
            (link(LEFT, "left"), link(RIGHT, "right")), ((LEFT, f"10.0.{at}.1"),), (), (), (True, True), 0
        )
        for at in range(routers)
    }
    owners = {f"10.0.{at}.1": Owner(Place("", f"r{at}"), "left") for at in range(routers)}
    cables = {
        (Place("", f"r{at}"), "right"): Cable(Place("", f"r{(way or {}).get(at, at + 1)}"), "left")
        for at in range(routers)
    }

    def decide(place: Place, target: str, source: str, incoming: int) -> Way:
        at = int(place.node[1:])
        following = (way or {}).get(at, at + 1)
        return LOCAL if at == routers - 1 else Way(by, f"10.0.{following}.1", "10.0.0.1", False, "")

    view = View(spaces, {}, {}, (), {}, (), {}, "")
    world = World({"": view}, owners, cables, {}, {}, {}, decide)
    return walk(world, Place("", "r0"), f"10.0.{routers - 1}.1")


def test_a_line_of_routers_is_walked_to_its_end() -> None:
    assert [hop.to.node for hop in walked(5).hops] == ["r1", "r2", "r3", "r4"]
    assert walked(5).wrong is None


@pytest.mark.parametrize("back", [1, 2])
def test_a_circle_is_named(back: int) -> None:
    wrong = walked(6, {3: back}).wrong

    assert wrong is not None
    around = ", ".join(f"r{at}" for at in (*range(back, 4), back))
    assert wrong.what == f"the way to 10.0.5.1 is a routing loop: {around}"


def test_an_interface_that_came_while_it_was_walked_is_told() -> None:
    wrong = walked(2, by=3).wrong

    assert wrong is not None
    assert (wrong.what, wrong.cure) == ("r0 has an interface that it had not a moment ago", "ask again")


def test_more_routers_than_a_packet_outlives_are_too_many() -> None:
    wrong = walked(MOST_HOPS + 10).wrong

    assert wrong is not None
    assert wrong.what == f"10.0.{MOST_HOPS + 9}.1 is more than {MOST_HOPS} hops away"
