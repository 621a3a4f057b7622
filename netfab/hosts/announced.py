"""Addresses to announce to neighbours after a change, and the links to use (kernel/announce.py). Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from netfab.engine.diff import Change
from netfab.objects.address import Address
from netfab.objects.base import Fabric, Name, by_kind
from netfab.objects.bridge import Bridge
from netfab.objects.port import Port

_WITH_ENDS = ("Veth", "Vlan", "Macvlan", "Nic")  # kinds of links that a node may have

Told = tuple[str, IPv4Address | IPv6Address, str]  # the host's link, the address, its MAC


def on_bridges(fabric: Fabric, changes: Sequence[Change]) -> Iterator[Told]:
    """New addresses, for neighbours on bridges that are not new: on new ones nobody has asked yet.

    If hosts learn from each other by BGP, also for neighbours behind the tunnel that may be asking now: a
    bridge keeps announcements out of it.
    """
    from netfab.objects.neighbour import Neighbour

    made = _new_bridges(changes)
    told = [change.after for change in changes if isinstance(change.after, Neighbour)]
    told = [neighbour for neighbour in told if neighbour.link not in made]
    for neighbour in told:
        yield neighbour.link.text, neighbour.address, neighbour.mac
    if told:
        here = dict(_by_tunnels(fabric))
        for neighbour in told:
            if tunnel := here.get((neighbour.link, neighbour.mac)):
                yield tunnel.text, neighbour.address, neighbour.mac


def _by_tunnels(fabric: Fabric) -> Iterator[tuple[tuple[Name, str], Name]]:
    """By bridge and MAC, the tunnel by which others reach a node of this host unknown to them."""
    from netfab.objects.bridge_fdb import BridgeFdb
    from netfab.objects.vxlan import Vxlan

    tunnels = {thing.end.link for thing in fabric.values() if isinstance(thing, Vxlan)}
    ports = {
        thing.bridge: thing.link
        for thing in fabric.values()
        if isinstance(thing, Port) and thing.link in tunnels
    }
    for thing in fabric.values():
        if isinstance(thing, BridgeFdb) and thing.link not in tunnels and thing.bridge in ports:
            yield (thing.bridge, thing.mac), ports[thing.bridge]


def by_guests(fabric: Fabric, changes: Sequence[Change]) -> Iterator[tuple[Name, str, list[Address]]]:
    """Links in guests that just got addresses: the link, its MAC, and these addresses.

    On a new bridge that leads to nobody else, there is nobody to tell.
    """
    there = by_kind((fabric,))
    guests = {guest.space for guest in there.get("Guest", ())}
    new: dict[Name, list[Address]] = {}
    for change in changes if guests else ():
        if isinstance(change.after, Address) and change.after.link.space in guests:
            new.setdefault(change.after.link, []).append(change.after)
    unheard = _ports_that_lead_nowhere(there, _new_bridges(changes)) if new else frozenset()
    macs = {
        end.link: end.mac
        for kind in _WITH_ENDS
        for thing in there.get(kind, ())
        if unheard.isdisjoint(thing.names)
        for end in thing.ends
    }
    for link, addresses in new.items():
        if link in macs:
            yield link, macs[link], addresses


def _new_bridges(changes: Sequence[Change]) -> Set[Name]:
    """Bridges that were just created, so had no neighbours on them."""
    bridges = [change for change in changes if isinstance(change.object, Bridge)]
    made = {change.object.link for change in bridges if change.action == "create"}
    return made - {change.object.link for change in bridges if change.action == "delete"}


def _ports_that_lead_nowhere(there: Mapping[str, Sequence[Any]], bridges: Set[Name]) -> Set[Name]:
    """The ports of those bridges that lead only to the fabric's own nodes and guests."""
    veths = {veth.a.link for veth in there.get("Veth", ())}
    ports = [port for port in there.get("Port", ()) if port.bridge in bridges]
    leading = {uplink.bridge for uplink in there.get("Uplink", ())}
    leading |= {port.bridge for port in ports if port.link not in veths}
    return {port.link for port in ports if port.bridge not in leading}
