"""The request of `netfab attach`, and the attachment that results: on what, with which addresses.

Only reads; adhoc.py applies it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from ipaddress import ip_interface
from typing import TYPE_CHECKING

from netfab.errors import AddressTaken, GuestGone, NetfabError, UnknownGuest
from netfab.facts import guests
from netfab.imperative.farside import FarSides, named, vlan_on, way_to
from netfab.topology import pipework
from netfab.topology.adhoc import ON_BRIDGES, Attachment, in_subnet
from netfab.topology.schema import Address, Interface
from netfab.tuples import NamedTuple
from netfab.where import Where

if TYPE_CHECKING:
    from netfab.guests.guest import Guest as FoundRun


class Request(NamedTuple):
    """The arguments of `netfab attach`."""

    bridge: str
    guest: str
    addressing: pipework.Addressing
    interface: str = pipework.DEFAULT_INTERFACE
    mac: str = ""
    mtu: int = 0
    host_link: str = ""
    rate: int = 0  # bits per second
    vlan: int = 0
    moves: bool = False  # the NIC itself instead of a macvlan on it


def request_of(
    bridge: str,
    guest: str,
    words: Iterable[str],
    interface: str = pipework.DEFAULT_INTERFACE,
    host_link: str = "",
    family: str = "",
    mtu: int = 0,
    rate: str = "",
    moves: bool = False,
) -> Request:
    """Parse the words of the command, in any order. Raises NetfabError."""
    addresses, stations = pipework.sorted_out(words)
    mac, vlan = pipework.mac_and_vlan(stations[0]) if stations else ("", 0)
    addressing = pipework.addressing(addresses, family)
    link = pipework.interface(host_link) if host_link else ""
    bits = pipework.rate(rate) if rate else 0
    return Request(
        bridge, guest, addressing, pipework.interface(interface), mac, mtu, link, bits, vlan, moves
    )


def attachment_of(
    request: Request, guest: FoundRun, there: FarSides, networks: Mapping[str, list[Interface]]
) -> Attachment:
    """The request with every address's prefix length, and how it connects to the far side.

    `networks`: by bridge, the subnets of files' networks there.
    """
    name = named(request.bridge, there)
    way = way_to(name, request.moves, there)
    vlan = vlan_on(name, way, request.vlan, there)
    if request.host_link and way not in ON_BRIDGES:
        raise NetfabError(f"-l {request.host_link}: on a NIC there is no host's end that could have a name")
    found = there.bridges.get(name)
    subnets = [ip_interface(text) for text in found["addresses"]] if found else []
    subnets += networks.get(name, [])
    interfaces = list(request.addressing.interfaces)
    for address in request.addressing.plain:
        interface = in_subnet(address, subnets)
        if interface is None:
            raise pipework.NoNetmask(address)
        interfaces.append(interface)
    return Attachment(
        guest.label,
        request.interface,
        name,
        guest.label if guest.kind == "pid" else guest.name,
        tuple(map(str, interfaces)),
        tuple(map(str, request.addressing.gateways)),
        request.mac,
        request.mtu,
        request.host_link,
        request.addressing.dhcp,
        request.addressing.dhcp_options,
        request.rate,
        way=way,
        vlan=vlan,
    )


def differs(before: Attachment, wanted: Attachment) -> bool:
    return before._replace(number=0, title="") != wanted._replace(number=0, title="")


def who(one: Attachment) -> str:
    return f"{one.interface} of {one.title}"


def words_of(one: Attachment) -> str:
    gateways = "".join(f"@{gateway}" for gateway in one.gateways)
    vlan = f" @{one.vlan}" if one.vlan else ""
    return f"{one.bridge} {' '.join(one.addresses) or one.dhcp or '0/0'}{gateways}{vlan}"


def refuse_taken(
    wanted: Attachment, known: Iterable[Attachment], held: Mapping[str, Mapping[Address, str]]
) -> None:
    """An address on a bridge has one holder in each VLAN. Raises AddressTaken.

    `held`: by bridge, the addresses of other fabrics there, and their holders.
    """
    holders = {
        ip_interface(text).ip: who(one)
        for one in known
        if (one.bridge, one.vlan) == (wanted.bridge, wanted.vlan) and one.key != wanted.key
        for text in one.addresses
    }
    holders |= {} if wanted.vlan else held.get(wanted.bridge, {})
    for text in wanted.addresses:
        if holder := holders.get(ip_interface(text).ip):
            raise AddressTaken(f"{text.partition('/')[0]} on {wanted.bridge} is {holder}")


def label_of(word: str, known: Collection[Attachment], where: Where) -> str:
    """The label of the guest that a word means; of one that is gone, from what was stored."""
    from netfab.guests.guest import is_full_id

    ids = {one.guest: one.guest.partition(":")[2] for one in known}
    meant = {one.guest for one in known if word in (one.guest, one.title, ids[one.guest])}
    meant = meant or {label for label, text in ids.items() if is_full_id(text) and text.startswith(word)}
    if len(meant) == 1:
        return meant.pop()
    try:
        return guests.find(word, where).label
    except (UnknownGuest, GuestGone):  # so nothing is attached to it
        return word
