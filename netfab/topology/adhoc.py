"""The host's ad-hoc fabric: what `netfab attach` was asked for, as a topology like any other. Pure.

Each guest is a node that somebody else runs, each bridge a network without subnets, each interface on a NIC a
link without; from there on the planner and the engine are the same as for a file.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_address, ip_interface

from netfab.errors import Location
from netfab.topology.schema import (
    PLANNED,
    Address,
    Endpoint,
    Impairment,
    Interface,
    Link,
    Network,
    Node,
    NoGateway,
    Places,
    Port,
    Prefix,
    RouteSpec,
    Topology,
    default_pools,
)
from netfab.topology.schema import Attachment as Seat
from netfab.tuples import NamedTuple

NAME = "adhoc"  # no file can have that name
BRIDGE, SWITCH, MACVLAN, MOVED = "bridge", "openvswitch", "macvlan", "nic"  # what a guest is attached to
ON_BRIDGES = (BRIDGE, SWITCH)
NOWHERE = Location("", 0, 0, "")  # not in any file
_PLACES = Places(NOWHERE)


class Attachment(NamedTuple):
    """An interface given to a guest. Kept as text, so the fields are plain."""

    guest: str  # its label: docker:3f2a1b…, netns:blue
    interface: str  # inside the guest
    bridge: str  # or the NIC
    title: str  # the guest's displayed name
    addresses: tuple[str, ...] = ()  # with their lengths; () = up and no more
    gateways: tuple[str, ...] = ()  # at most one of each family
    mac: str = ""  # "" = derived
    mtu: int = 0  # 0 = the bridge's
    host_link: str = ""  # "" = derived
    dhcp: str = ""  # the DHCP client that gets the address
    dhcp_options: tuple[str, ...] = ()
    rate: int = 0  # bits per second that the guest may send; 0 = unlimited
    number: int = 0  # sequence number: the latest gateway takes effect
    way: str = BRIDGE
    vlan: int = 0  # 0 = the bridge's default, or no tag

    @property
    def key(self) -> str:
        """Unique among attachments."""
        return f"{self.guest} {self.interface}"

    def to_json(self) -> str:
        """One line; fields are an array, so that a later version can append some."""
        return json.dumps(self, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Attachment:
        """The inverse of to_json."""
        read = cls(*json.loads(text))
        return read._replace(
            addresses=tuple(read.addresses),
            gateways=tuple(read.gateways),
            dhcp_options=tuple(read.dhcp_options),
        )


class Asked(NamedTuple):
    """What commands on this host have asked for, less what was undone."""

    attachments: Mapping[str, Attachment] = {}  # by key
    made: frozenset[str] = frozenset()  # bridges that were themselves asked for, with a subnet
    uplinks: Mapping[str, str] = {}  # NIC -> the bridge that it is a port of

    def leases(self) -> Iterator[tuple[str, str, str]]:
        """What the store keeps of it, as (kind, key, text)."""
        yield from (("attachment", key, one.to_json()) for key, one in self.attachments.items())
        yield from (("made", name, "") for name in self.made)
        yield from (("uplink", nic, bridge) for nic, bridge in self.uplinks.items())


class Standing(NamedTuple):
    """An existing bridge: whether the ad-hoc fabric made it, and whether others have ports on it."""

    own: bool
    mtu: int
    shared: bool = False
    openvswitch: bool = False


def topology_of(
    asked: Asked, running: Collection[str], bridges: Mapping[str, Standing], nics: Collection[str] = ()
) -> Topology:
    """Everything asked for, of guests that run, on NICs that exist; the rest is kept until then.

    A bridge that we made and others use stays.
    """
    known = sorted(asked.attachments.values(), key=lambda one: one.number)
    present = [one for one in known if one.guest in running and (one.way in ON_BRIDGES or one.bridge in nics)]
    uplinks = {bridge: nic for nic, bridge in asked.uplinks.items() if nic in nics}
    names = dict.fromkeys(
        [*sorted(asked.made), *(one.bridge for one in known if one.way in ON_BRIDGES), *sorted(uplinks)]
    )
    names |= dict.fromkeys(name for name, there in bridges.items() if there.own and there.shared)
    switches = {one.bridge for one in known if one.way == SWITCH}
    switches |= {name for name, there in bridges.items() if there.openvswitch}
    guests = dict.fromkeys(one.guest for one in present)
    return Topology(
        name=NAME,
        at=_PLACES,
        pools=default_pools(NOWHERE),
        avoid=(),
        networks={
            name: (
                Network(name, _PLACES, bridge=name)
                if name in asked.made
                else _network(name, bridges.get(name), name in switches)
            )._replace(uplink=((("", uplinks[name]),) if name in uplinks else ()))
            for name in names
        },
        nodes={guest: _node(guest, [one for one in present if one.guest == guest]) for guest in guests},
        links=tuple(_link(one) for one in present if one.way not in ON_BRIDGES),
        hosts={},
        checks=(),
        store=None,
        reserved=(),
        asked=tuple(asked.leases()),
    )


def _network(bridge: str, standing: Standing | None, switch: bool) -> Network:
    there = standing is not None and not standing.own
    return Network(
        bridge,
        _PLACES,
        bridge=bridge,
        subnets=(),
        gateway=NoGateway(),
        mtu=standing.mtu if standing is not None and there else PLANNED,
        external=there,
        openvswitch=switch,
        guarded=False,
    )


def _node(guest: str, attachments: list[Attachment]) -> Node:
    return Node(
        guest,
        guest,
        1,
        _PLACES,
        attachments=tuple(
            Seat(one.bridge, _port(one), _PLACES) for one in attachments if one.way in ON_BRIDGES
        ),
        routes=tuple(_routes(attachments)),
        attach=guest,
    )


def _link(one: Attachment) -> Link:
    device = f"{one.bridge}.{one.vlan}" if one.vlan else one.bridge
    ends = Endpoint(one.guest, _port(one), _PLACES), Endpoint(f"{one.way}:{device}", Port(), _PLACES)
    return Link(ends, (), 1, _PLACES)


def _port(one: Attachment) -> Port:
    return Port(
        addresses=tuple(map(ip_interface, one.addresses)),
        plain=False,
        no_address=not (one.addresses or one.dhcp),
        dhcp=one.dhcp,
        dhcp_options=one.dhcp_options,
        gateway=bool(one.dhcp),
        mac=one.mac or PLANNED,
        name=one.interface,
        mtu=one.mtu or PLANNED,
        spoof="allow",
        host_link=one.host_link,
        vlan=one.vlan,
        impairment=Impairment(rate=one.rate),
    )


def _routes(attachments: Iterable[Attachment]) -> Iterator[RouteSpec]:
    """The latest default route of each family, and a route to a gateway outside of the subnet."""
    ways: dict[int, tuple[Attachment, Address]] = {}
    for one in attachments:
        for gateway in map(ip_address, one.gateways):
            ways[gateway.version] = one, gateway
    for one, gateway in ways.values():
        if not any(gateway in interface.network for interface in map(ip_interface, one.addresses)):
            host: Prefix = IPv4Network(gateway) if gateway.version == 4 else IPv6Network(gateway)
            yield RouteSpec(host, None, one.interface, None, "unicast", NOWHERE)
        yield RouteSpec(None, gateway, one.interface, None, "unicast", NOWHERE)


def in_subnet(address: Address, subnets: Iterable[Interface]) -> Interface | None:
    """The address with the prefix length of the bridge's subnet that contains it."""
    for subnet in subnets:
        if address in subnet.network:
            kind = IPv4Interface if address.version == 4 else IPv6Interface
            return kind((int(address), subnet.network.prefixlen))
    return None
