"""What the planner is told besides the file: about the host it plans for, and what is leased already.

Plain values. facts/ and kernel/facts.py gather them; the planner never looks for itself.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from netfab.objects.original import Original
from netfab.plan.subnets import Reservation
from netfab.tuples import NamedTuple

if TYPE_CHECKING:
    from netfab.topology.schema import Network, Topology

Address = IPv4Address | IPv6Address


class FoundGuest(NamedTuple):
    """A container that somebody else runs, as it was found; the fields are objects/guest.py's."""

    label: str
    path: str
    pid: int
    started: str


class Stacked(NamedTuple):
    """A link on top of a NIC."""

    name: str
    kind: str  # vlan, macvlan ...
    master: str  # the bridge that it is a port of, or the like


class FoundNic(NamedTuple):
    """A link of the host that an interface of a node can send through, or that can be moved into it."""

    original: Original  # as it is, or was before we moved it
    hardware: int = 1  # ARPHRD_*, net/if_arp.h
    master: str = ""  # the bridge, bond or the like that it is a port of
    stacked: tuple[Stacked, ...] = ()
    wireless: bool = False
    moved: bool = False  # by this fabric, or lent to a bridge
    tag: tuple[str, int] | None = None  # (NIC, VLAN) of which it is a link


class OpenVSwitch(NamedTuple):
    """What runs of it."""

    datapath: str  # of new bridges: system (in the kernel) or netdev (in a process); "" where none can be
    bridges: Mapping[str, str]  # the datapath of each
    answers: bool = True  # False: it runs, and what it has is not known


class Frr(NamedTuple):
    """FRR, as it is installed."""

    directory: str  # of its daemons
    runs: bool  # a zebra of somebody else's


class Device(NamedTuple):
    """A link of the host that is not the fabric's, with its addresses."""

    name: str
    mtu: int
    addresses: tuple[Address, ...]
    multicast: bool = True


class Esp(NamedTuple):
    """What a host has of IPsec's ESP."""

    works: bool  # the kernel has it
    # By a state's name: how many packets it has sent, and the number of the last one that it received.
    counted: Mapping[str, tuple[int, int]]


class Facts(NamedTuple):
    """One host, as it was read."""

    reservations: tuple[Reservation, ...] = ()  # prefixes routed, resolved through, or another manager's
    links: frozenset[str] = frozenset()  # names of links that are not this fabric's
    bridges: Mapping[str, str] = {}  # names of other fabrics' bridges, there or not, and whose they are
    mtu: int = 1500  # of the device that the default route leaves by
    nameservers: tuple[str, ...] = ()  # upstreams that a node can reach: none on loopback
    uplinks: tuple[str, ...] = ()  # devices with a default route
    machine: str = ""  # what tells this machine from others: /etc/machine-id
    ipv6: bool = True
    docker: tuple[str, ...] = ()  # families in which Docker has its chain for the rules of others: ip, ip6
    bridged_frames: bool = False  # whether IP chains also see what stays on one bridge
    published: Mapping[str, str] = {}  # ports of the host that other fabrics publish: tcp/*/8080 -> fabric
    held: Mapping[str, Mapping[Address, str]] = {}  # bridge -> others' addresses there, and whose
    guests: Mapping[str, FoundGuest] = {}  # by the word that a node's `attach` has for it
    nics: Mapping[str, FoundNic] = {}  # by their names on the host; only where the topology speaks of any
    openvswitch: OpenVSwitch | None = None  # None: it does not run
    barred: Mapping[str, str] = {}  # links that are no such NICs, and why; likewise
    devices: tuple[Device, ...] = ()  # those with addresses
    vnis: tuple[tuple[int, str], ...] = ()  # of tunnels that are not this fabric's, and whose they are
    sysctls: Mapping[str, str] = {}  # that netfab may borrow: key -> what it was before any fabric came
    esp: Esp | None = None  # None: nobody asked
    frr: Frr | None = None  # None: it is not installed


class Asked(NamedTuple):
    """What a topology wants to know of a host, besides what every topology does."""

    guests: tuple[str, ...] = ()  # words of `attach`: as they run now
    former: tuple[str, ...] = ()  # as they were when they were attached, if they ever were
    nics: bool = False  # whether there is a link to any, or an uplink
    moving: tuple[str, ...] = ()  # NICs that are to be moved, or lent to a bridge
    esp: bool = False  # whether networks are encrypted between hosts


def asked_by(topology: Topology, nodes: Container[str]) -> Asked:
    """What has to be looked for before these nodes can be planned."""
    outsides = [link.outside for link in topology.links if link.outside is not None]
    lent = [nic for network in topology.networks.values() for host, nic in network.uplink if not host]
    attached = [node for node in topology.nodes.values() if node.attach]
    return Asked(
        tuple(dict.fromkeys(node.attach for node in attached if node.name in nodes)),
        tuple(dict.fromkeys(node.attach for node in attached if node.name not in nodes)),
        bool(lent) or any(outside.kind != "host" for outside in outsides),
        (*(outside.device for outside in outsides if outside.kind == "nic"), *lent),
        bool(topology.hosts) and any(network.encrypt for network in topology.networks.values()),
    )


def switched(network: Network, facts: Facts) -> bool:
    """Whether its bridge is of Open vSwitch."""
    there = facts.openvswitch.bridges if facts.openvswitch else ()
    return network.openvswitch or (bool(network.external) and network.bridge in there)


def nic_below(device: str, nics: Mapping[str, FoundNic]) -> tuple[str, int]:
    """The NIC that `eth0` is, or `eth0.30` a VLAN of; and the VLAN, where no link is there for it, else 0."""
    from netfab.topology.grammar import vlan_id

    base, vlan = device.rpartition(".")[0], vlan_id(device)
    if device in nics or vlan is None or base not in nics:
        return device, 0
    there = [name for name, found in nics.items() if found.tag == (base, vlan)]
    return (there[0], 0) if there else (base, vlan)
