"""What a walk looks at: what each namespace has and who should have what; and where a walk stops; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from netfab.diagnose.finding import HOST, NO_TRACES, Finding, Place, Traces, by, name_of, without
from netfab.objects.view import Link, Space, View, Way
from netfab.tuples import NamedTuple


class Owner(NamedTuple):
    """The planned holder of an address."""

    place: Place
    interface: str


class Cable(NamedTuple):
    """What leads out of a node: the other end of its veth."""

    place: Place
    interface: str


class World(NamedTuple):
    """Everything that a walk reads."""

    views: Mapping[str, View]  # by host; "" is the only one
    owners: Mapping[str, Owner]  # by address, as applied
    cables: Mapping[tuple[Place, str], Cable]  # in both directions
    tunnels: Mapping[tuple[str, str], str]  # (host, bridge) -> its tunnel
    vteps: Mapping[str, str]  # by host
    absent: Mapping[str, Place]  # by address: nodes on hosts that are not reached
    way: Callable[[Place, str, str, int], Way]  # to, from, by the link that it came in by

    def space(self, place: Place) -> Space | None:
        """A namespace's content; None: it is gone."""
        return self.views[place.host].spaces.get(place.node)


class Stopped(Exception):
    """A walk can't continue. Carries the finding."""

    def __init__(
        self,
        what: str,
        cure: str = "",
        no_route: bool = False,
        traces: Traces = NO_TRACES,
        unasked: str = "",
    ) -> None:
        self.finding = Finding(what, cure, no_route, traces, unasked)


def namespace_of(world: World, place: Place) -> Space:
    """A namespace's content. Raises Stopped if it is gone."""
    space = world.space(place)
    if space is None:
        raise Stopped(f"the namespace of {name_of(place)} is gone", traces=without(place))
    return space


def down(world: World, place: Place, link: Link, cable: Cable | None) -> Stopped:
    """Why a link that should pass frames has no carrier: itself, or the other end of its cable."""
    name = f"{link.name} of {name_of(place)}"
    traces = traces_of(place, name, link.name)
    if not link.up:
        return Stopped(f"{name} is down", traces=traces)
    if cable is not None:
        outer = namespace_of(world, cable.place).link(cable.interface)
        if outer is None or not outer.up:
            state = "gone" if outer is None else "down"
            return Stopped(f"{cable.interface}, the other end of {name}, is {state}", traces=traces)
    return Stopped(f"{name} has no carrier", traces=traces)


def traces_of(place: Place, name: str, interface: str) -> Traces:
    """Traces of a link: in the drift a host's link has only its name."""
    return by(place, name, interface) if place.node == HOST else by(place, name)
