"""Random fabrics of all kinds: small enough to make in a kernel, alike enough to turn into each other."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from itertools import combinations
from random import Random
from typing import Any

from examples import FABRIC, GROUP

from netfab.objects.address import Address
from netfab.objects.base import HOST, Fabric, Name, node_space
from netfab.objects.bridge import Bridge
from netfab.objects.file import File
from netfab.objects.link import Settings
from netfab.objects.namespace import Namespace
from netfab.objects.port import Port
from netfab.objects.route import DEFAULT_METRIC6, Hop, Route, through
from netfab.objects.sysctl import Sysctl
from netfab.objects.veth import End, Veth

NODES = ("app", "db", "log", "web")
BRIDGES = ("br0", "br1")


def random_fabric(random: Random) -> Fabric:
    """2-4 nodes on 1-2 bridges, some with a cable between them; addresses, routes, sysctls and a file."""
    nodes = sorted(random.sample(NODES, random.randint(2, 4)))
    bridges = sorted(random.sample(BRIDGES, random.randint(1, 2)))
    objects: list[Any] = [Namespace(Name("namespace", f"{FABRIC}.{node}"), GROUP) for node in nodes]
    for bridge in bridges:
        objects += _bridge(random, bridge)
    for node in nodes:
        objects += _uplink(random, node, random.choice(bridges))
    for one, other in combinations(nodes, 2):
        if random.random() < 0.4:
            objects += _cable(random, one, other)
    for node in nodes:
        objects += _routes(random, node_space(FABRIC, node), objects)
        if random.random() < 0.3:
            objects.append(
                Sysctl(node_space(FABRIC, node), "net/ipv4/ip_default_ttl", random.choice(("9", "99")))
            )
    if random.random() < 0.5:
        objects.append(
            File(
                f"/run/netfab/{FABRIC}/etc/hosts.{random.randint(1, 2)}", f"10.0.0.1 {random.choice(nodes)}\n"
            )
        )
    return Fabric(FABRIC, objects)


def _bridge(random: Random, name: str) -> Iterator[Any]:
    link, number = Name(HOST, name), BRIDGES.index(name)
    yield Bridge(
        link,
        f"02:00:00:00:0{number}:0{random.randint(1, 2)}",
        random.choice((1400, 1500)),
        GROUP,
        snooping=random.random() < 0.3,
        settings=Settings(forwarding=random.random() < 0.5),
    )
    if random.random() < 0.7:
        yield Address(link, ip_address(f"10.{number}.0.1"), random.choice((16, 24)))


def _end(random: Random, space: str, name: str, number: int) -> End:
    settings = Settings(forwarding=random.random() < 0.3, accept_ra=random.random() < 0.5)
    mac = f"02:00:00:01:{number:02x}:{random.randint(1, 2):02x}"
    return End(Name(space, name), mac, random.choice((1400, 1500)), settings=settings)


def _uplink(random: Random, node: str, bridge: str) -> Iterator[Any]:
    """A node's place on a bridge, with its addresses."""
    number, net = NODES.index(node), BRIDGES.index(bridge)
    a, b = (
        End(Name(HOST, f"nf{node}"), f"02:00:00:02:{number:02x}:01", 1500),
        _end(random, node_space(FABRIC, node), "eth0", number),
    )
    yield Veth(a, b, GROUP)
    if random.random() < 0.9:
        yield Port(a.link, Name(HOST, bridge), random.random() < 0.2)
    for last in random.sample((10, 20), random.randint(0, 2)):
        yield Address(b.link, ip_address(f"10.{net}.0.{last + number}"), 24)
    if random.random() < 0.5:
        yield Address(b.link, ip_address(f"fd00:{net}::{10 + number:x}"), 64)


def _cable(random: Random, one: str, other: str) -> Iterator[Any]:
    """A veth between two nodes, each end named after the other node."""
    numbers = NODES.index(one), NODES.index(other)
    a = _end(random, node_space(FABRIC, one), f"to-{other}", 0x10 + 4 * numbers[0] + numbers[1])
    b = _end(random, node_space(FABRIC, other), f"to-{one}", 0x10 + 4 * numbers[1] + numbers[0])
    yield Veth(a, b, GROUP)
    if random.random() < 0.7:
        prefix = f"10.2{numbers[0]}.{numbers[1]}"
        yield Address(a.link, ip_address(f"{prefix}.0"), 31)
        yield Address(b.link, ip_address(f"{prefix}.1"), 31)


def _routes(random: Random, space: str, objects: list[Any]) -> Iterator[Any]:
    """Routes by what the node's links can reach: one way, several, the link itself, none."""
    held: dict[Name, list[Address]] = {}
    for thing in objects:
        if isinstance(thing, Address) and thing.link.space == space:
            held.setdefault(thing.link, []).append(thing)
    four = [
        Hop(_neighbour(address), link)
        for link, some in held.items()
        for address in some
        if address.address.version == 4
    ]
    six = [
        Hop(_neighbour(address), link)
        for link, some in held.items()
        for address in some
        if address.address.version == 6
    ]
    for destination, ways, metric in (
        ("0.0.0.0/0", four, random.choice((0, 50))),
        ("10.90.0.0/16", four, 0),
        ("fd90::/64", six, DEFAULT_METRIC6),
    ):
        if ways and random.random() < 0.7:
            hops = tuple(sorted(set(random.sample(ways, random.randint(1, min(2, len(ways)))))))
            yield Route(space, ip_network(destination), hops, metric, through(hops, held))
    if four and random.random() < 0.3:
        hops = (Hop(None, four[0].link),)
        yield Route(space, ip_network("10.91.0.0/24"), hops, 0, through(hops, held))
    if random.random() < 0.2:
        yield Route(space, ip_network("10.92.0.0/24"), (), 0, kind=random.choice(("blackhole", "prohibit")))


def _neighbour(address: Address) -> Any:
    """Another address of the same prefix."""
    return ip_address(int(address.address) ^ 1)
