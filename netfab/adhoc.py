"""attach, detach and their kin: entries of the host's ad-hoc fabric, planned and applied like any other.

What was asked for is kept as leases, claimed before the first change as all leases are; so a command that is
killed leaves what the next one completes, or what `detach` takes away.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_interface
from typing import Any, NamedTuple

from netfab import fabric
from netfab.engine.apply import Applied
from netfab.errors import AddressTaken, NetfabError
from netfab.farside import FarSides, far_sides, named, refuse_vlan, way_to
from netfab.guests.find import Guest, GuestNotFound, GuestNotRunning, find
from netfab.hosts.lock import locked
from netfab.store.store import Store
from netfab.topology import pipework
from netfab.topology.adhoc import BRIDGE, NAME, NOWHERE, Attachment, Standing, in_subnet, topology_of
from netfab.where import HERE, Where, need_root, opened_store


class Wish(NamedTuple):
    """What `netfab attach` was told."""

    bridge: str
    guest: str
    addressing: pipework.Addressing
    interface: str = pipework.DEFAULT_INTERFACE
    mac: str = ""
    mtu: int = 0
    host_link: str = ""
    vlan: int = 0
    moves: bool = False  # the NIC itself, in place of a macvlan on it


def wish_of(
    bridge: str,
    guest: str,
    words: Iterable[str],
    interface: str,
    host_link: str,
    family: str,
    mtu: int,
    moves: bool = False,
) -> Wish:
    """From the words of the command, which stand in any order. Raises NetfabError."""
    addresses, stations = pipework.sorted_out(words)
    mac, vlan = pipework.mac_and_vlan(stations[0]) if stations else ("", 0)
    addressing = pipework.addressing(addresses, family)
    link = pipework.interface(host_link) if host_link else ""
    return Wish(bridge, guest, addressing, pipework.interface(interface), mac, mtu, link, vlan, moves)


def attach(wish: Wish, where: Where = HERE, replace: bool = False) -> tuple[Attachment, Applied]:
    """Give a running container one more interface. The same again changes nothing.

    Raises NetfabError when nothing was changed, or all was undone.
    """
    need_root("attach")
    with _alone(where):
        guest = find(wish.guest)
        there = far_sides(where)
        known = _known(where)
        wanted = _attachment(wish, guest, there)
        before = known.get(wanted.key)
        if before is not None and not replace and _differs(before, wanted):
            raise NetfabError(
                f"{wish.interface} of {guest.name} is attached already, otherwise: {_words(before)}",
                hint="--replace changes it; -i IF gives it another interface",
            )
        _refuse_taken(wanted, known.values(), where)
        number = 1 + max((one.number for one in known.values()), default=0)
        known[wanted.key] = wanted._replace(number=before.number if before and not replace else number)
        return wanted, _applied(known.values(), there, where)


def detach(
    bridge: str, guest: str, interface: str = "", where: Where = HERE
) -> tuple[list[Attachment], Applied]:
    """Take away what `attach` gave, also from a guest that is gone. What is not there is fine."""
    need_root("detach")
    with _alone(where):
        known = _known(where)
        there = far_sides(where)
        label = _label(guest, known.values())
        name = named(bridge, there)
        going = [
            one
            for one in known.values()
            if one.guest == label and one.bridge == name and interface in ("", one.interface)
        ]
        for one in going:
            del known[one.key]
        return going, _applied(known.values(), there, where)


def reconcile(where: Where = HERE) -> Applied:
    """Attach again what is missing, also to guests that were restarted; forget those that are gone."""
    need_root("reconcile")
    with _alone(where):
        return _applied(_known(where).values(), far_sides(where), where)


def reconcile_any(name: str, where: Where = HERE) -> Applied:
    """As fabric.reconcile does; what is attached, from what was asked for."""
    return reconcile(where) if name == NAME else fabric.reconcile(name, where)


def attachments(where: Where = HERE) -> list[Attachment]:
    """All that there is, in the order in which they came."""
    return sorted(_known(where).values(), key=lambda one: one.number)


@contextmanager
def _alone(where: Where) -> Iterator[None]:
    """One command at a time reads what is attached and applies it with its own change."""
    with locked(f"{where.run}/{NAME}.attachments.lock", where.lock_timeout, where.waiting):
        yield


def _known(where: Where) -> dict[str, Attachment]:
    with opened_store(where) as store:
        found = map(Attachment.from_json, _kept(store))
        return {one.key: one for one in found}


def _kept(store: Store) -> Iterator[str]:
    return (lease.value for lease in store.leases(NAME) if lease.kind == "attachment")


def _applied(known: Iterable[Attachment], there: FarSides, where: Where) -> Applied:
    """Apply what is asked for now, of guests that there still are."""
    still = dict(_states(known))
    running = {one.guest for one, runs in still.items() if runs}
    standing = {
        name: Standing(found["own"], found["mtu"], found["shared"]) for name, found in there.bridges.items()
    }
    topology = topology_of(still, running, standing, there.nics)
    if not topology.networks and not topology.attached:
        return fabric.destroy(NAME, where)
    try:
        return fabric.apply(topology, "", where)[1]
    except NetfabError as error:
        for each in getattr(error, "errors", (error,)):
            each.at = None if each.at == NOWHERE else each.at
        raise


def _states(known: Iterable[Attachment]) -> Iterator[tuple[Attachment, bool]]:
    """Each attachment whose guest there still is, and whether that runs."""
    for one in known:
        try:
            find(one.guest)
        except GuestNotFound:
            continue
        except GuestNotRunning:
            yield one, False
        else:
            yield one, True


def _attachment(wish: Wish, guest: Guest, there: FarSides) -> Attachment:
    """The wish with every address's length, and the way to what it is plugged into."""
    name = named(wish.bridge, there)
    way = way_to(name, wish.moves, there)
    refuse_vlan(wish.vlan, name, way)
    if wish.host_link and way != BRIDGE:
        raise NetfabError(f"-l {wish.host_link}: on a NIC there is no host's end that could have a name")
    found = there.bridges.get(name)
    subnets = [ip_interface(text) for text in found["addresses"]] if found else []
    interfaces = list(wish.addressing.interfaces)
    for address in wish.addressing.plain:
        interface = in_subnet(address, subnets)
        if interface is None:
            raise pipework.NoNetmask(address)
        interfaces.append(interface)
    return Attachment(
        guest.label,
        wish.interface,
        name,
        guest.name,
        tuple(map(str, interfaces)),
        tuple(map(str, wish.addressing.gateways)),
        wish.mac,
        wish.mtu,
        wish.host_link,
        way=way,
    )


def _differs(before: Attachment, wanted: Attachment) -> bool:
    return before._replace(number=0, title="") != wanted._replace(number=0, title="")


def _words(one: Attachment) -> str:
    gateways = "".join(f"@{gateway}" for gateway in one.gateways)
    return f"{one.bridge} {' '.join(one.addresses) or '0/0'}{gateways}"


def _refuse_taken(wanted: Attachment, known: Iterable[Attachment], where: Where) -> None:
    """An address on a bridge is one holder's. Raises AddressTaken."""
    holders = {
        ip_interface(text).ip: f"{one.interface} of {one.title}"
        for one in known
        if one.bridge == wanted.bridge and one.key != wanted.key
        for text in one.addresses
    }
    with opened_store(where) as store:
        for record in store.records():
            holders |= _held_by(record.name, json.loads(record.summary), wanted.bridge)
    for text in wanted.addresses:
        if holder := holders.get(ip_interface(text).ip):
            raise AddressTaken(f"{text.partition('/')[0]} on {wanted.bridge} is {holder}")


def _held_by(name: str, summary: dict[str, Any], bridge: str) -> dict[Any, str]:
    """The addresses that a fabric has on that bridge, and whose they are."""
    here = {network for network, found in summary["networks"].items() if found["bridge"] == bridge}
    held = {
        ip_address(text): f"the gateway of network {network} of fabric {name}"
        for network in here
        for text in summary["networks"][network]["gateways"]
    }
    for node, found in summary["nodes"].items() if name != NAME else ():
        for network in here & found["addresses"].keys():
            held |= {
                ip_address(text): f"node {node} of fabric {name}" for text in found["addresses"][network]
            }
    return held


def _label(word: str, known: Iterable[Attachment]) -> str:
    """The guest that a word means, which may be gone: then by what was kept of it."""
    meant = {one.guest for one in known if word in (one.guest, one.title, one.guest.partition(":")[2])}
    if len(meant) == 1:
        return meant.pop()
    label: str = find(word).label
    return label
