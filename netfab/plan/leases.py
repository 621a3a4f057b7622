"""Leases: what the planner chose and the store keeps, and which of them exclude each other."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from netfab.tuples import NamedTuple


class Lease(NamedTuple):
    """What the planner chose once and keeps.

    `kind` is subnet, shared, address, bridge, mac, vni, esp, publish, borrowed, attachment, made, uplink or
    inside. A `subnet` overlaps no other of the host; a `shared` one was written where the host has no part in
    it, and may; `inside` is what a kill would leave in a namespace or on a bridge, to be looked for there.
    Keys: SEGMENT/FAMILY, SEGMENT/NODE#N/FAMILY, SEGMENT/@HOST/FAMILY, NETWORK (bridge, mac, vni),
    NETWORK/@HOST (mac), HOST HOST, PROTOCOL/ADDRESS/PORT, a sysctl, GUEST INTERFACE, a bridge, a NIC, a link.
    """

    kind: str
    key: str
    value: str


MOST_KEYS = 10**18 - 1  # that two hosts may have had: what `read_lease` reads

_READ: Mapping[str, Callable[[str], object]] = {
    "subnet": ip_network,
    "shared": ip_network,
    "address": ip_address,
    "bridge": re.compile(r"[^\s/:]{1,15}").fullmatch,
    "mac": re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}").fullmatch,
    "vni": re.compile(r"[0-9]{1,8}").fullmatch,
    "esp": re.compile(r"[0-9]{1,18} [0-9a-f]{8}").fullmatch,
}


def read_lease(lease: Lease) -> Lease:
    """A lease from a host or a shared store. Raises ValueError if no planner could use it."""
    if lease.kind in _READ and not (lease.key.split() and _READ[lease.kind](lease.value)):
        raise ValueError(f"{lease.kind} of {lease.key} is {lease.value!r:.60}")
    return lease


def same_port(one: str, other: str) -> bool:
    """Whether two published ports, such as tcp/*/8080 and tcp/127.0.0.1/8080, exclude each other."""
    (protocol, address, port), (other_protocol, other_address, other_port) = one.split("/"), other.split("/")
    if (protocol, port) != (other_protocol, other_port):
        return False
    if "*" in (address, other_address):
        return True
    a, b = ip_address(address), ip_address(other_address)
    return a == b or (a.version == b.version and (a.is_unspecified or b.is_unspecified))


class Published:
    """Ports of a host that are taken, such as tcp/*/8080; found without a look at all of them."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._by_port: dict[tuple[str, str], list[str]] = {}
        for key in keys:
            self.add(key)

    def add(self, key: str) -> None:
        """Add one."""
        protocol, _, port = key.split("/")
        self._by_port.setdefault((protocol, port), []).append(key)

    def beside(self, key: str) -> str:
        """The first of them that excludes that one; "" = none."""
        protocol, _, port = key.split("/")
        return next((held for held in self._by_port.get((protocol, port), ()) if same_port(held, key)), "")


class HeldSubnet(NamedTuple):
    """A subnet lease of another fabric on this host."""

    fabric: str
    network: str
    prefix: IPv4Network | IPv6Network
