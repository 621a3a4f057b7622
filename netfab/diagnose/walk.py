"""The path of a packet, hop by hop, by the kernel's state, and the first thing wrong with it; pure.

Each step reads the actual state, not the plan; the plan only says which interface of which node should have
an address, so that what is missing can be named.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from netfab.diagnose.crossing import Hop, across
from netfab.diagnose.finding import HOST, Finding, Place, Traces, name_of
from netfab.diagnose.world import Cable, Stopped, World, down, namespace_of, traces_of
from netfab.objects.view import Link, Space, Way
from netfab.tuples import NamedTuple

MOST_HOPS = 64
_REJECTED = {
    "unreachable": "rejects it: `unreachable`",
    "prohibited": "rejects it: `prohibit`",
    "blackhole": "swallows it: `blackhole`",
}


class Walked(NamedTuple):
    """How far a packet would get."""

    hops: tuple[Hop, ...]
    wrong: Finding | None


def walk(world: World, begin: Place, target: str, source: str = "") -> Walked:
    """Walk from a namespace to an address."""
    hops: list[Hop] = []
    try:
        for hop in _hops(world, begin, target, source):
            hops.append(hop)
    except Stopped as stopped:
        return Walked(tuple(hops), stopped.finding)
    return Walked(tuple(hops), None)


def _hops(world: World, begin: Place, target: str, source: str) -> Iterator[Hop]:
    place, incoming, been = begin, 0, [begin]
    while True:
        space = namespace_of(world, place)
        if incoming:
            _forwards(world, place, space, incoming, target, source)
        way = world.way(place, target, source if incoming else "", incoming)
        source = source or way.source
        if way.refusal:
            raise _refused(world, place, space, way, target, source, incoming)
        if way.local:
            _is_the_owner(world, place, target)
            return
        link = space.at(way.link)
        if link is None:
            raise Stopped(f"{name_of(place)} has an interface that it had not a moment ago", "ask again")
        towards = way.gateway or target
        if place.node == HOST and not _is_ours(world, place, space, link):
            if target in world.owners and (dead := _dead_links(world, place, space)):
                raise dead
            if incoming:
                _hears_back(place, space, link, target)
            return  # it leaves the host, or what is known of it
        hop, into = across(world, place, space, link, towards)
        yield hop
        place, incoming = hop.to, into
        if len(been) > MOST_HOPS:
            raise Stopped(f"{target} is more than {MOST_HOPS} hops away", "`routes` of these nodes")
        if place in been and place != begin:
            around = ", ".join(name_of(each) for each in (*been[been.index(place) :], place))
            raise Stopped(f"the way to {target} is a routing loop: {around}", "`routes` of these nodes")
        been.append(place)


def _is_ours(world: World, place: Place, space: Space, link: Link) -> bool:
    """Whether a host's link is a cable of the fabric, or a bridge with an address or a cable of it."""
    if link.kind != "bridge":
        return (place, link.name) in world.cables
    if any(owner == (place, link.name) for owner in world.owners.values()):
        return True
    ports = {port.name for port in space.links if port.master == link.ifindex}
    return any(cable.place == place and cable.interface in ports for cable in world.cables.values())


def _is_the_owner(world: World, place: Place, target: str) -> None:
    owner = world.owners.get(target)
    if owner is not None and owner.place != place:
        raise Stopped(
            f"{name_of(place)} has {target} itself, which is {owner.interface}'s of {name_of(owner.place)}",
            f"ip netns exec … ip address del {target}",
        )


def _forwards(world: World, place: Place, space: Space, incoming: int, target: str, source: str) -> None:
    """Whether a router forwards a packet that is not for it."""
    if any(each == target for _, each in space.addresses):
        return
    link, version = space.at(incoming), ip_address(target).version
    on = (
        space.forwarding[0] or (link is not None and link.forwarding) if version == 4 else space.forwarding[1]
    )
    if not on:
        raise Stopped(
            f"{name_of(place)} does not forward IPv{version}",
            f"`forward: true` of {name_of(place)}",
            traces=Traces(place.host, (("forwarding", name_of(place)), ("sysctl", "forwarding"))),
        )


def _hears_back(place: Place, space: Space, link: Link, target: str) -> None:
    """Whether a host accepts answers from outside; the apply prepared that for the ways out at that time."""
    if ip_address(target).version == 4 and not (space.forwarding[0] or link.forwarding):
        raise Stopped(
            f"{name_of(place)} does not forward what comes by {link.name}, so no answer comes back",
            "`netfab apply` again, where another NIC led out before",
            traces=Traces(place.host, (("sysctl", f"net/ipv4/conf/{link.name}/forwarding"),)),
        )


def _refused(
    world: World, place: Place, space: Space, way: Way, target: str, source: str, incoming: int
) -> Stopped:
    if way.refusal == "rp_filter":
        link = space.at(incoming)
        interface = link.name if link else "?"
        return Stopped(
            f"{name_of(place)} drops what comes from {source} by {interface}: its own route there uses"
            " another interface (rp_filter)",
            f"sysctl net.ipv4.conf.{interface}.rp_filter=0 in {name_of(place)}, or a way back by {interface}",
            traces=Traces(place.host, (("rp_filter", f"{interface} of {name_of(place)}"),)),
        )
    if told := _REJECTED.get(way.refusal):
        return Stopped(
            f"a route of {name_of(place)} to {target} {told}",
            "a more specific one, or without it; whoever made that route knows why",
        )
    if why := _dead_links(world, place, space):
        return why
    return Stopped(
        f"{name_of(place)} has no route to {target}",
        f"`routes` or a `gateway` for {name_of(place)}",
        no_route=True,
        traces=Traces(place.host, (("route", f"in {name_of(place)}"),)),
    )


def _dead_links(world: World, place: Place, space: Space) -> Stopped | None:
    """If an expected interface is missing or down, its routes are gone with it."""
    for interface, cable in _leading_out(world, place):
        link = space.link(interface)
        if link is None:
            gone = f"{interface} of {name_of(place)}"
            return Stopped(f"{gone} is gone", traces=traces_of(place, gone, interface))
        if not (link.up and link.carrier):
            return down(world, place, link, cable)
    return None


def _leading_out(world: World, place: Place) -> Iterator[tuple[str, Cable | None]]:
    """The interfaces through which a node sends; of a host, its bridges with an address."""
    if place.node == HOST:
        yield from ((owner.interface, None) for owner in world.owners.values() if owner.place == place)
    else:
        yield from ((link, cable) for (where, link), cable in world.cables.items() if where == place)
