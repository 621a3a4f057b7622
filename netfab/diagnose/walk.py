"""The way of a packet, hop by hop, as the kernel's state has it, and the first thing wrong with it; pure.

Each step reads what there is, not what was planned; the plan only says which interface of which node should
have an address, so that what is missing can be named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address

from netfab.diagnose.finding import HOST, NO_TRACES, Finding, Place, Traces, by, name_of, without
from netfab.objects.view import FORWARDING, Link, Space, View, Way
from netfab.objects.wire import AF_BRIDGE
from netfab.tuples import NamedTuple

EVERYBODY = "00:00:00:00:00:00"  # where a tunnel sends what is for all, or for somebody unknown
MOST_HOPS = 64
_REJECTED = {
    "unreachable": "rejects it: `unreachable`",
    "prohibited": "rejects it: `prohibit`",
    "blackhole": "swallows it: `blackhole`",
}


class Owner(NamedTuple):
    """Who should have an address."""

    place: Place
    interface: str


class Cable(NamedTuple):
    """What leads out of a node: the other end of its veth."""

    place: Place
    interface: str


class World(NamedTuple):
    """All that a walk looks at."""

    views: Mapping[str, View]  # by host; "" is the only one
    owners: Mapping[str, Owner]  # by address, as it was applied
    cables: Mapping[tuple[Place, str], Cable]  # both ways
    tunnels: Mapping[tuple[str, str], str]  # (host, bridge) -> its tunnel
    vteps: Mapping[str, str]  # of each host
    way: Callable[[Place, str, str, int], Way]  # to, from, by the link that it came in by

    def space(self, place: Place) -> Space | None:
        """What a namespace has; None: it is gone."""
        return self.views[place.host].spaces.get(place.node)


class Hop(NamedTuple):
    """A step of the way: out of an interface, over bridges and tunnels (or a cable: ""), to another."""

    place: Place
    interface: str
    over: str
    to: Place
    into: str
    narrow: Finding | None  # what passes no frames as large as the interface sends


class Walked(NamedTuple):
    """How far a packet would come."""

    hops: tuple[Hop, ...]
    wrong: Finding | None


class _Stopped(Exception):
    def __init__(self, what: str, cure: str = "", no_route: bool = False, traces: Traces = NO_TRACES) -> None:
        self.finding = Finding(what, cure, no_route, traces)


def walk(world: World, begin: Place, target: str, source: str = "") -> Walked:
    """From a namespace to an address."""
    hops: list[Hop] = []
    try:
        for hop in _hops(world, begin, target, source):
            hops.append(hop)
    except _Stopped as stopped:
        return Walked(tuple(hops), stopped.finding)
    return Walked(tuple(hops), None)


def _hops(world: World, begin: Place, target: str, source: str) -> Iterator[Hop]:
    place, incoming, been = begin, 0, [begin]
    while True:
        space = _there(world, place)
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
            raise _Stopped(f"{name_of(place)} has an interface that it had not a moment ago", "ask again")
        towards = way.gateway or target
        if place.node == HOST and not _is_ours(world, place, space, link):
            if target in world.owners and (dead := _dead_links(world, place, space)):
                raise dead
            return  # it leaves the host, or what is known of it
        hop, into = _across(world, place, space, link, towards)
        yield hop
        place, incoming = hop.to, into
        if len(been) > MOST_HOPS:
            raise _Stopped(f"{target} is more than {MOST_HOPS} hops away", "`routes` of these nodes")
        if place in been and place != begin:
            around = ", ".join(name_of(each) for each in (*been[been.index(place) :], place))
            raise _Stopped(f"the way to {target} leads in a circle: {around}", "`routes` of these nodes")
        been.append(place)


def _is_ours(world: World, place: Place, space: Space, link: Link) -> bool:
    """Whether a link of a host is a cable of the fabric, or a bridge with an address or a cable of it."""
    if link.kind != "bridge":
        return (place, link.name) in world.cables
    if any(owner == (place, link.name) for owner in world.owners.values()):
        return True
    ports = {port.name for port in space.links if port.master == link.ifindex}
    return any(cable.place == place and cable.interface in ports for cable in world.cables.values())


def _there(world: World, place: Place) -> Space:
    space = world.space(place)
    if space is None:
        raise _Stopped(f"the namespace of {name_of(place)} is gone", traces=without(place))
    return space


def _is_the_owner(world: World, place: Place, target: str) -> None:
    owner = world.owners.get(target)
    if owner is not None and owner.place != place:
        raise _Stopped(
            f"{name_of(place)} has {target} itself, which is {owner.interface}'s of {name_of(owner.place)}",
            f"ip netns exec … ip address del {target}",
        )


def _forwards(world: World, place: Place, space: Space, incoming: int, target: str, source: str) -> None:
    """What a router must do with a packet that is not for it."""
    if any(each == target for _, each in space.addresses):
        return
    link, version = space.at(incoming), ip_address(target).version
    on = (
        space.forwarding[0] or (link is not None and link.forwarding) if version == 4 else space.forwarding[1]
    )
    if not on:
        raise _Stopped(
            f"{name_of(place)} does not forward IPv{version}",
            f"`forward: true` of {name_of(place)}",
            traces=Traces(place.host, (("forwarding", name_of(place)), ("sysctl", "forwarding"))),
        )


def _refused(
    world: World, place: Place, space: Space, way: Way, target: str, source: str, incoming: int
) -> _Stopped:
    if way.refusal == "rp_filter":
        link = space.at(incoming)
        interface = link.name if link else "?"
        return _Stopped(
            f"{name_of(place)} drops what comes from {source} by {interface}: its own way there is another"
            " one (rp_filter)",
            f"sysctl net.ipv4.conf.{interface}.rp_filter=0 in {name_of(place)}, or a way back by {interface}",
            traces=Traces(place.host, (("rp_filter", f"{interface} of {name_of(place)}"),)),
        )
    if told := _REJECTED.get(way.refusal):
        return _Stopped(f"a route of {name_of(place)} to {target} {told}", "the route that says so")
    if why := _dead_links(world, place, space):
        return why
    return _Stopped(
        f"{name_of(place)} has no route to {target}",
        f"`routes` or a `gateway` for {name_of(place)}",
        no_route=True,
        traces=Traces(place.host, (("route", f"in {name_of(place)}"),)),
    )


def _dead_links(world: World, place: Place, space: Space) -> _Stopped | None:
    """Where an interface that should be there is not, or is down, its routes are gone with it."""
    for interface, cable in _leading_out(world, place):
        link = space.link(interface)
        if link is None:
            gone = f"{interface} of {name_of(place)}"
            return _Stopped(f"{gone} is gone", traces=_traces(place, gone, interface))
        if not (link.up and link.carrier):
            return _down(world, place, link, cable)
    return None


def _leading_out(world: World, place: Place) -> Iterator[tuple[str, Cable | None]]:
    """The interfaces by which a node sends; of a host, its bridges that have an address."""
    if place.node == HOST:
        yield from ((owner.interface, None) for owner in world.owners.values() if owner.place == place)
    else:
        yield from ((link, cable) for (where, link), cable in world.cables.items() if where == place)


def _traces(place: Place, name: str, interface: str) -> Traces:
    """Of a link: what is not as it was applied calls a host's by its name alone."""
    return by(place, name, interface) if place.node == HOST else by(place, name)


def _down(world: World, place: Place, link: Link, cable: Cable | None) -> _Stopped:
    name = f"{link.name} of {name_of(place)}"
    traces = _traces(place, name, link.name)
    if not link.up:
        return _Stopped(f"{name} is down", traces=traces)
    if cable is not None:
        outer = _there(world, cable.place).link(cable.interface)
        if outer is None or not outer.up:
            state = "gone" if outer is None else "down"
            return _Stopped(f"{cable.interface}, the other end of {name}, is {state}", traces=traces)
    return _Stopped(f"{name} has no carrier", traces=traces)


def _across(world: World, place: Place, space: Space, link: Link, towards: str) -> tuple[Hop, int]:
    """Over a cable or a bridge to who has an address; and by which of its links it comes in."""
    cable = world.cables.get((place, link.name))
    if not (link.up and link.carrier):
        raise _down(world, place, link, cable)
    to, into = _holder(world, place, towards, link)
    _known_as(world, place, space, link, towards, to, into)
    if cable is not None and cable == (to, into.name):
        return Hop(place, link.name, "", to, into.name, _narrow(link, place, [(to, into)])), into.ifindex
    first, bridge, port = _bridge_of(world, place, link, cable)
    others = [(first, each) for each in (port, bridge) if each is not None]
    if to == Place(place.host, HOST) and into.ifindex == bridge.ifindex:
        return Hop(place, link.name, bridge.name, to, into.name, _narrow(link, place, others)), into.ifindex
    arrival = world.cables.get((to, into.name))
    if arrival is None:
        raise _Stopped(f"{towards} is not on {bridge.name}, where {name_of(place)} looks for it")
    last, there, out = _bridge_of(world, to, into, arrival)
    over = bridge.name
    if first.host != last.host:
        tunnel = _tunnel(world, first.host, bridge, into, last.host)
        others += [(first, tunnel), (last, there)]
        over = f"{bridge.name} -> {tunnel.name} -> {there.name} of {last.host}"
    elif there.ifindex != bridge.ifindex:
        raise _Stopped(
            f"{link.name} of {name_of(place)} is on {bridge.name},"
            f" and {into.name} of {name_of(to)} is on {there.name}",
            traces=by(first, *(each.name for each in (port, out) if each is not None)),
        )
    elif port is not None and out is not None:
        if port.isolated and out.isolated:
            raise _Stopped(
                f"{name_of(place)} and {name_of(to)} are on {bridge.name}, whose ports are kept apart",
                "`isolated: false` of that network",
            )
        _forwarded_to(world, first, bridge, into, out, to)
    others += [(last, out)] if out is not None else []
    return Hop(place, link.name, over, to, into.name, _narrow(link, place, others)), into.ifindex


def _holder(world: World, place: Place, address: str, link: Link) -> tuple[Place, Link]:
    """Who has an address: who should, else whoever does."""
    owner = world.owners.get(address)
    places = [owner.place] if owner else []
    places += [Place(host, node) for host, view in world.views.items() for node in view.spaces]
    for each in places:
        space = world.space(each)
        if space is not None and each != place and (found := space.holder(address)) is not None:
            return each, found
    if owner is None:
        raise _Stopped(f"nobody has {address}, where {link.name} of {name_of(place)} sends it")
    space = _there(world, owner.place)
    name = f"{owner.interface} of {name_of(owner.place)}"
    if (found := space.link(owner.interface)) is None:
        raise _Stopped(f"{name} is gone", traces=by(owner.place, name))
    if not (found.up and found.carrier):
        raise _down(world, owner.place, found, world.cables.get((owner.place, owner.interface)))
    raise _Stopped(f"{name} does not have {address}", traces=by(owner.place, address))


def _known_as(
    world: World, place: Place, space: Space, link: Link, address: str, to: Place, into: Link
) -> None:
    """Whom this one takes to have the address."""
    if not (into.up and into.carrier):
        raise _down(world, to, into, world.cables.get((to, into.name)))
    for entry in space.entries:
        there = (entry.link, entry.address) == (link.ifindex, address) and entry.family != AF_BRIDGE
        if there and entry.fixed and entry.mac != into.mac:
            raise _Stopped(
                f"{name_of(place)} takes {address} to be at {entry.mac or 'nobody'},"
                f" and {into.name} of {name_of(to)} is at {into.mac}",
                f"ip neighbour del {address} dev {link.name} in {name_of(place)}",
            )


def _bridge_of(
    world: World, place: Place, link: Link, cable: Cable | None
) -> tuple[Place, Link, Link | None]:
    """The bridge that a link leads to: on which host, which, and by which of its ports."""
    if place.node == HOST and link.kind == "bridge":
        return place, link, None
    if cable is None:
        raise _Stopped(f"{link.name} of {name_of(place)} leads to nothing that netfab made")
    space = _there(world, cable.place)
    port = space.link(cable.interface)
    if port is None or not port.up:
        raise _down(world, place, link._replace(up=True, carrier=False), cable)
    bridge = space.at(port.master)
    if bridge is None:
        raise _Stopped(
            f"{port.name}, the host's end of {link.name} of {name_of(place)}, is on no bridge",
            traces=by(cable.place, port.name),
        )
    if not bridge.up:
        where = f"{bridge.name} of {name_of(cable.place)}" if cable.place.host else bridge.name
        raise _Stopped(f"bridge {where} is down", traces=by(cable.place, f"bridge {bridge.name}"))
    if port.port_state != FORWARDING:
        raise _Stopped(
            f"port {port.name} of {bridge.name}, {link.name} of {name_of(place)}, does not forward",
            f"bridge link set dev {port.name} state 3",
        )
    return cable.place, bridge, port


def _forwarded_to(world: World, first: Place, bridge: Link, into: Link, out: Link, to: Place) -> None:
    """Where the bridge takes that MAC to be."""
    space = _there(world, first)
    for entry in space.entries:
        if entry.family == AF_BRIDGE and entry.mac == into.mac and entry.fixed and entry.link != out.ifindex:
            port = space.at(entry.link)
            if port is not None and port.master == bridge.ifindex:
                raise _Stopped(
                    f"{bridge.name} takes {into.mac}, {into.name} of {name_of(to)}, to be behind {port.name}",
                    f"bridge fdb del {into.mac} dev {port.name} master",
                )


def _tunnel(world: World, here: str, bridge: Link, into: Link, there: str) -> Link:
    """The tunnel from a bridge to another host, which must know who is behind which peer."""
    name = world.tunnels.get((here, bridge.name), "")
    space = _there(world, Place(here, HOST))
    tunnel = space.link(name) if name else None
    traces = Traces(here, ((name,),)) if name else NO_TRACES
    if tunnel is None:
        raise _Stopped(f"the tunnel of {bridge.name} on {here} is gone", traces=traces)
    if not tunnel.up:
        raise _Stopped(f"{name}, the tunnel of {bridge.name} on {here}, is down", traces=traces)
    if tunnel.master != bridge.ifindex:
        raise _Stopped(f"{name}, the tunnel on {here}, is not on {bridge.name}", traces=traces)
    entries = [entry for entry in space.entries if entry.family == AF_BRIDGE]
    for entry in entries:
        port = space.at(entry.link) if entry.mac == into.mac and entry.fixed else None
        if port is not None and port.master == bridge.ifindex and port.ifindex != tunnel.ifindex:
            raise _Stopped(
                f"{bridge.name} on {here} takes {into.mac} to be behind {port.name}",
                traces=by(Place(here, HOST), port.name),
            )
    known = [entry for entry in entries if entry.link == tunnel.ifindex and entry.address]
    peers = sorted({entry.address for entry in known if entry.mac == into.mac})
    vtep = world.vteps[there]
    if peers and vtep not in peers:
        raise _Stopped(
            f"{name} on {here} sends what is for {into.mac} to {', '.join(peers)}, not to {there}, {vtep}",
            traces=traces,
        )
    everybody = {entry.address for entry in known if entry.mac == EVERYBODY}
    if not peers and vtep not in everybody and not any(ip_address(each).is_multicast for each in everybody):
        raise _Stopped(f"{name} on {here} does not know of {there}, {vtep}", traces=traces)
    return tunnel


def _narrow(link: Link, place: Place, others: list[tuple[Place, Link]]) -> Finding | None:
    """What is larger than a bridge's port lets pass vanishes without a word: which port."""
    for where, other in others:
        if 0 < other.mtu < link.mtu:
            return Finding(
                f"{other.name} of {name_of(where)} passes {other.mtu} bytes, and {link.name} of"
                f" {name_of(place)} sends up to {link.mtu}: larger frames vanish without a word",
                traces=by(where, other.name if where.node == HOST else f"{other.name} of {where.node}"),
            )
    return None
