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
    """A container of another runtime, as it was found; the fields are objects/guest.py's."""

    label: str
    path: str
    pid: int
    started: str


class Stacked(NamedTuple):
    """A link stacked on a NIC."""

    name: str
    kind: str  # vlan, macvlan ...
    master: str  # the bridge or the like of which it is a port


class FoundNic(NamedTuple):
    """A link of the host on which a node's interface can be based, or that can be moved into a node."""

    original: Original  # as it is, or was before we moved it
    hardware: int = 1  # ARPHRD_*, net/if_arp.h
    master: str = ""  # the bridge, bond or the like of which it is a port
    stacked: tuple[Stacked, ...] = ()
    wireless: bool = False
    moved: bool = False  # by this fabric, or lent to a bridge
    tag: tuple[str, int] | None = None  # (NIC, VLAN), if it is a VLAN of one


class OpenVSwitch(NamedTuple):
    """The running Open vSwitch."""

    datapath: str  # of new bridges: system (in the kernel) or netdev (in a process); "" if neither works
    bridges: Mapping[str, str]  # each with its datapath
    answers: bool = True  # False: it runs, but its state is unknown


class Frr(NamedTuple):
    """The installed FRR."""

    directory: str  # of its daemons
    runs: bool  # somebody else's zebra runs


class Device(NamedTuple):
    """A link of the host that is not the fabric's, with its addresses."""

    name: str
    mtu: int
    addresses: tuple[Address, ...]
    multicast: bool = True


class Esp(NamedTuple):
    """A host's support for IPsec's ESP."""

    works: bool  # the kernel supports it
    # By a state's name: how many packets it has sent, and the last sequence number that it received.
    counted: Mapping[str, tuple[int, int]]


class Facts(NamedTuple):
    """What was read of one host."""

    reservations: tuple[Reservation, ...] = ()  # prefixes routed, resolved through, or another manager's
    links: frozenset[str] = frozenset()  # names of links that are not this fabric's
    bridges: Mapping[str, str] = {}  # other fabrics' bridge names, existing or not, and the fabrics
    mtu: int = 1500  # of the default route's device
    nameservers: tuple[str, ...] = ()  # upstreams that a node can reach: not on loopback
    uplinks: tuple[str, ...] = ()  # devices with a default route
    machine: str = ""  # identifies this machine: /etc/machine-id
    ipv6: bool = True
    docker: tuple[str, ...] = ()  # families in which Docker has its chain for user rules: ip, ip6
    bridged_frames: bool = False  # whether IP chains also see bridged frames
    published: Mapping[str, str] = {}  # ports of the host that other fabrics publish: tcp/*/8080 -> fabric
    held: Mapping[str, Mapping[Address, str]] = {}  # bridge -> addresses of others on it, and whose
    guests: Mapping[str, FoundGuest] = {}  # by the word in a node's `attach`
    nics: Mapping[str, FoundNic] = {}  # by name on the host; only if the topology needs any
    openvswitch: OpenVSwitch | None = None  # None: not running
    barred: Mapping[str, str] = {}  # links unusable as such NICs, and why; likewise
    devices: tuple[Device, ...] = ()  # those with addresses
    vnis: tuple[tuple[int, str], ...] = ()  # of tunnels that are not this fabric's, and whose they are
    sysctls: Mapping[str, str] = {}  # that netfab may borrow: key -> value before any fabric changed it
    esp: Esp | None = None  # None: not asked for
    frr: Frr | None = None  # None: not installed


class Asked(NamedTuple):
    """What a topology needs to know of a host, besides the usual."""

    guests: tuple[str, ...] = ()  # words of `attach`: as they run now
    former: tuple[str, ...] = ()  # as they were when attached, if ever
    nics: bool = False  # whether a link to one or an uplink is in it
    moving: tuple[str, ...] = ()  # NICs to be moved, or lent to a bridge
    esp: bool = False  # whether networks between hosts are encrypted


def asked_by(topology: Topology, nodes: Container[str]) -> Asked:
    """What has to be read before these nodes can be planned."""
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
    """Whether its bridge is an Open vSwitch one."""
    there = facts.openvswitch.bridges if facts.openvswitch else ()
    return network.openvswitch or (bool(network.external) and network.bridge in there)


def nic_below(device: str, nics: Mapping[str, FoundNic]) -> tuple[str, int]:
    """The NIC: `eth0`, or that below VLAN `eth0.30`; and the VLAN if there is no such link yet, else 0."""
    from netfab.topology.grammar import vlan_id

    base, vlan = device.rpartition(".")[0], vlan_id(device)
    if device in nics or vlan is None or base not in nics:
        return device, 0
    there = [name for name, found in nics.items() if found.tag == (base, vlan)]
    return (there[0], 0) if there else (base, vlan)
