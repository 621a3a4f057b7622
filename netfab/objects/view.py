"""What a host's kernel has, as plain data, as far as the way of a packet depends on it; pure.

Read by kernel/view.py; another host's agent sends it as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping

from netfab.tuples import NamedTuple

FORWARDING = 3  # BR_STATE_FORWARDING, linux/if_bridge.h


class Link(NamedTuple):
    """A network interface."""

    ifindex: int
    name: str
    kind: str  # bridge, veth, vxlan ...; "" for hardware and lo
    mac: str
    mtu: int
    up: bool  # administratively
    carrier: bool
    master: int  # ifindex of the bridge that it is a port of, or 0
    port_state: int  # BR_STATE_*; 0: not a port
    isolated: bool
    forwarding: bool  # IPv4
    rp_filter: int


class Entry(NamedTuple):
    """A neighbour, or, with `family` 7, an entry of a forwarding table."""

    family: int
    link: int
    address: str  # the neighbour's; for a tunnel's entry the peer's; else ""
    mac: str
    fixed: bool  # permanent, or set by a program; else learned
    failed: bool  # nobody answered
    master: bool  # of the bridge that the link is a port of


class Listener(NamedTuple):
    """A socket that listens for connections or datagrams."""

    protocol: str
    address: str  # "" for every address
    port: int


class Space(NamedTuple):
    """A network namespace."""

    links: tuple[Link, ...]
    addresses: tuple[tuple[int, str], ...]  # (ifindex, address)
    entries: tuple[Entry, ...]
    listeners: tuple[Listener, ...]
    forwarding: tuple[bool, bool]  # IPv4, IPv6
    rp_filter: int  # of `all`: the greater of it and a link's own applies

    def link(self, name: str) -> Link | None:
        """By its name."""
        return next((link for link in self.links if link.name == name), None)

    def at(self, ifindex: int) -> Link | None:
        """By its ifindex."""
        return next((link for link in self.links if link.ifindex == ifindex), None)

    def holder(self, address: str) -> Link | None:
        """The link that has an address."""
        return next((self.at(ifindex) for ifindex, each in self.addresses if each == address), None)


class Program(NamedTuple):
    """A node's program."""

    state: str
    exit_code: int | None


class View(NamedTuple):
    """A host: the namespaces of a fabric, the host's own under "", and what was applied there."""

    spaces: Mapping[str, Space]
    names: Mapping[str, Mapping[str, tuple[str, ...]]]  # of each node's hosts file; none if that is gone
    programs: Mapping[str, Program]
    drift: tuple[str, ...]  # a line for each difference, as `netfab drift` prints it
    owners: Mapping[str, tuple[str, str]]  # (node, interface) that should have an address
    cables: tuple[tuple[str, str, str, str], ...]  # node and interface of both ends of each veth
    tunnels: Mapping[str, str]  # by the bridge that each is a port of
    vtep: str  # this host's address on the underlay, or ""


class Way(NamedTuple):
    """How the kernel routes a packet: out of which link, to which gateway; or why it is dropped."""

    link: int  # 0: it is not sent
    gateway: str  # "": the target is on the link
    source: str  # the address that it is sent from, unless it has one
    local: bool
    refusal: str  # no route · unreachable · prohibited · blackhole · rp_filter; "": it is sent
