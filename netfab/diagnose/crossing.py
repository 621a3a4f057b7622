"""From one namespace to the next, by cable, bridge or tunnel, and the first thing wrong on that way; pure."""

from __future__ import annotations

from ipaddress import ip_address

from netfab.diagnose.finding import HOST, NO_TRACES, Finding, Place, Traces, by, name_of
from netfab.diagnose.world import Cable, Stopped, World, down, namespace_of
from netfab.objects.view import FORWARDING, Link, Space
from netfab.objects.wire import AF_BRIDGE
from netfab.tuples import NamedTuple

EVERYBODY = "00:00:00:00:00:00"  # to which a tunnel sends broadcasts and frames to unknown addresses


class Hop(NamedTuple):
    """A step of the way: out of an interface, over bridges and tunnels (or a cable: ""), to another."""

    place: Place
    interface: str
    over: str
    to: Place
    into: str
    narrow: Finding | None  # what drops frames as large as the interface sends


def across(world: World, place: Place, space: Space, link: Link, towards: str) -> tuple[Hop, int]:
    """Over a cable or a bridge to the holder of an address; and the link by which it arrives."""
    cable = world.cables.get((place, link.name))
    if not (link.up and link.carrier):
        raise down(world, place, link, cable)
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
        raise Stopped(f"{towards} is not on {bridge.name}, where {name_of(place)} looks for it")
    last, there, out = _bridge_of(world, to, into, arrival)
    over = bridge.name
    if first.host != last.host:
        tunnel = _tunnel(world, first.host, bridge, into, last.host)
        others += [(first, tunnel), (last, there)]
        over = f"{bridge.name} -> {tunnel.name} -> {there.name} of {last.host}"
    elif there.ifindex != bridge.ifindex:
        raise Stopped(
            f"{link.name} of {name_of(place)} is on {bridge.name},"
            f" and {into.name} of {name_of(to)} is on {there.name}",
            traces=by(first, *(each.name for each in (port, out) if each is not None)),
        )
    elif port is not None and out is not None:
        if port.isolated and out.isolated:
            raise Stopped(
                f"{name_of(place)} and {name_of(to)} are on {bridge.name}, whose ports are kept apart",
                "`isolated: false` of that network",
            )
        _forwarded_to(world, first, bridge, into, out, to)
    others += [(last, out)] if out is not None else []
    return Hop(place, link.name, over, to, into.name, _narrow(link, place, others)), into.ifindex


def _holder(world: World, place: Place, address: str, link: Link) -> tuple[Place, Link]:
    """The holder of an address: the planned one, else any."""
    owner = world.owners.get(address)
    places = [owner.place] if owner else []
    places += [Place(host, node) for host, view in world.views.items() for node in view.spaces]
    for each in places:
        space = world.space(each)
        if space is not None and each != place and (found := space.holder(address)) is not None:
            return each, found
    if owner is None and (absent := world.absent.get(address)):
        told = f"{link.name} of {name_of(place)} sends it to {absent.node} on {absent.host}"
        raise Stopped(f"{told}, which is not reached", unasked=absent.host)
    if owner is None:
        raise Stopped(f"nobody has {address}, where {link.name} of {name_of(place)} sends it")
    space = namespace_of(world, owner.place)
    name = f"{owner.interface} of {name_of(owner.place)}"
    if (found := space.link(owner.interface)) is None:
        raise Stopped(f"{name} is gone", traces=by(owner.place, name))
    if not (found.up and found.carrier):
        raise down(world, owner.place, found, world.cables.get((owner.place, owner.interface)))
    raise Stopped(f"{name} does not have {address}", traces=by(owner.place, address))


def _known_as(
    world: World, place: Place, space: Space, link: Link, address: str, to: Place, into: Link
) -> None:
    """Whom this one's neighbour table says has the address."""
    if not (into.up and into.carrier):
        raise down(world, to, into, world.cables.get((to, into.name)))
    for entry in space.entries:
        there = (entry.link, entry.address) == (link.ifindex, address) and entry.family != AF_BRIDGE
        if there and entry.fixed and entry.mac != into.mac:
            raise Stopped(
                f"{name_of(place)} takes {address} to be at {entry.mac or 'nobody'},"
                f" and {into.name} of {name_of(to)} is at {into.mac}",
                f"ip neighbour del {address} dev {link.name} in {name_of(place)}",
            )


def _bridge_of(
    world: World, place: Place, link: Link, cable: Cable | None
) -> tuple[Place, Link, Link | None]:
    """The bridge that a link leads to: its host, its name, and the port."""
    if place.node == HOST and link.kind == "bridge":
        return place, link, None
    if cable is None:
        raise Stopped(f"{link.name} of {name_of(place)} leads to nothing that netfab made")
    space = namespace_of(world, cable.place)
    port = space.link(cable.interface)
    if port is None or not port.up:
        raise down(world, place, link._replace(up=True, carrier=False), cable)
    bridge = space.at(port.master)
    if bridge is None:
        raise Stopped(
            f"{port.name}, the host's end of {link.name} of {name_of(place)}, is on no bridge",
            traces=by(cable.place, port.name),
        )
    if not bridge.up:
        where = f"{bridge.name} of {name_of(cable.place)}" if cable.place.host else bridge.name
        raise Stopped(f"bridge {where} is down", traces=by(cable.place, f"bridge {bridge.name}"))
    if port.port_state != FORWARDING:
        raise Stopped(
            f"port {port.name} of {bridge.name}, {link.name} of {name_of(place)}, does not forward",
            f"bridge link set dev {port.name} state 3",
        )
    return cable.place, bridge, port


def _forwarded_to(world: World, first: Place, bridge: Link, into: Link, out: Link, to: Place) -> None:
    """Where the bridge forwards that MAC."""
    space = namespace_of(world, first)
    for entry in space.entries:
        if entry.family == AF_BRIDGE and entry.mac == into.mac and entry.fixed and entry.link != out.ifindex:
            port = space.at(entry.link)
            if port is not None and port.master == bridge.ifindex:
                raise Stopped(
                    f"{bridge.name} takes {into.mac}, {into.name} of {name_of(to)}, to be behind {port.name}",
                    f"bridge fdb del {into.mac} dev {port.name} master",
                )


def _tunnel(world: World, here: str, bridge: Link, into: Link, there: str) -> Link:
    """The tunnel from a bridge to another host, which must have an entry for the peer."""
    name = world.tunnels.get((here, bridge.name), "")
    space = namespace_of(world, Place(here, HOST))
    tunnel = space.link(name) if name else None
    traces = Traces(here, ((name,),)) if name else NO_TRACES
    if tunnel is None:
        raise Stopped(f"the tunnel of {bridge.name} on {here} is gone", traces=traces)
    if not tunnel.up:
        raise Stopped(f"{name}, the tunnel of {bridge.name} on {here}, is down", traces=traces)
    if tunnel.master != bridge.ifindex:
        raise Stopped(f"{name}, the tunnel on {here}, is not on {bridge.name}", traces=traces)
    entries = [entry for entry in space.entries if entry.family == AF_BRIDGE]
    for entry in entries:
        port = space.at(entry.link) if entry.mac == into.mac and entry.fixed else None
        if port is not None and port.master == bridge.ifindex and port.ifindex != tunnel.ifindex:
            raise Stopped(
                f"{bridge.name} on {here} takes {into.mac} to be behind {port.name}",
                traces=by(Place(here, HOST), port.name),
            )
    known = [entry for entry in entries if entry.link == tunnel.ifindex and entry.address]
    peers = sorted({entry.address for entry in known if entry.mac == into.mac})
    vtep = world.vteps[there]
    if peers and vtep not in peers:
        raise Stopped(
            f"{name} on {here} sends what is for {into.mac} to {', '.join(peers)}, not to {there}, {vtep}",
            traces=traces,
        )
    everybody = {entry.address for entry in known if entry.mac == EVERYBODY}
    if not peers and vtep not in everybody and not any(ip_address(each).is_multicast for each in everybody):
        raise Stopped(f"{name} on {here} does not know of {there}, {vtep}", traces=traces)
    return tunnel


def _narrow(link: Link, place: Place, others: list[tuple[Place, Link]]) -> Finding | None:
    """The bridge port that silently drops frames larger than its MTU."""
    for where, other in others:
        if 0 < other.mtu < link.mtu:
            return Finding(
                f"{other.name} of {name_of(where)} passes {other.mtu} bytes, and {link.name} of"
                f" {name_of(place)} sends up to {link.mtu}: larger frames are dropped silently",
                traces=by(where, other.name if where.node == HOST else f"{other.name} of {where.node}"),
            )
    return None
