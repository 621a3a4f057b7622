"""A small host with networks, nodes and an outside, for tests that send real packets through the firewall.

Built from kernel objects and the planner's firewall only: the rules are tested, not how a file is planned.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from pyroute2 import IPRoute

from netfab.engine.apply import apply
from netfab.hosts.local import LocalHost
from netfab.kernel import nft
from netfab.kernel.waiting import wait_until_it_works
from netfab.objects.address import Address, address_name
from netfab.objects.base import HOST, Fabric, Name, node_space
from netfab.objects.bridge import Bridge
from netfab.objects.link import Settings, group_of
from netfab.objects.namespace import Namespace
from netfab.objects.port import Port
from netfab.objects.route import Hop, Route
from netfab.objects.veth import End, Veth
from netfab.plan.firewall import Area, PublishedPort, firewall, localnet_bridges
from netfab.plan.guard import GuardedPort, guard
from netfab.system import linux

FABRIC = "shop"
PATIENCE = 0.8  # seconds after which an attempt to connect counts as stopped
ANSWER = 60.0  # seconds for one that should get through: a machine may have much to do
FOREIGN = ("internet", "tunnel")
OUTSIDE, UPLINK = "203.0.113.9", "203.0.113.1"
OUTSIDE6, UPLINK6 = "2001:db8::9", "2001:db8::1"


class Lab:
    """Say what there is, `apply`, then send."""

    def __init__(self, host: LocalHost) -> None:
        self.host = host
        self.areas: list[Area] = []
        self.ports: list[GuardedPort] = []
        self.published: list[PublishedPort] = []
        self.uplinks: list[str] = []
        self._networks: dict[str, tuple[Area, tuple[str, ...]]] = {}
        self._nodes: list[Any] = []

    def network(self, bridge: str, *gateways: str, **properties: Any) -> None:
        """`gateways` are the bridge's addresses with their lengths: 10.0.1.1/24."""
        mac = f"02:00:00:00:00:{len(self._networks):02x}"
        area = Area(bridge, mac, tuple(ip_interface(text).network for text in gateways), **properties)
        self.areas.append(area)
        self._networks[bridge] = area, gateways

    def node(self, name: str, bridge: str, *addresses: str, hairpin: bool = False, **port: Any) -> None:
        """A node on a bridge; its default routes point at the bridge. `port`: what it may send."""
        area, gateways = self._networks[bridge]
        mac = f"02:00:00:00:01:{len(self.ports):02x}"
        space, outer = node_space(FABRIC, name), Name(HOST, f"nf{name}")
        eth0 = Name(space, "eth0")
        on_host = End(outer, f"02:00:00:00:02:{len(self.ports):02x}", 1500)
        self._nodes += [
            Namespace(Name("namespace", f"{FABRIC}.{name}"), group_of(FABRIC)),
            Veth(on_host, End(eth0, mac, 1500), group_of(FABRIC)),
            Port(outer, Name(HOST, bridge), area.isolated, hairpin),
        ]
        for text in addresses:
            interface = ip_interface(text)
            self._nodes.append(Address(eth0, interface.ip, interface.network.prefixlen))
            through = address_name(eth0, interface.ip, interface.network.prefixlen)
            for gateway in map(ip_interface, gateways):
                if gateway.version == interface.version and area.gateway and not interface.is_link_local:
                    everywhere = ip_network("0.0.0.0/0" if gateway.version == 4 else "::/0")
                    metric = 0 if gateway.version == 4 else 1024
                    self._nodes.append(Route(space, everywhere, (Hop(gateway.ip, eth0),), metric, (through,)))
        own = tuple(ip_interface(text).ip for text in addresses)
        self.ports.append(GuardedPort(outer.text, (mac,), own)._replace(**port))

    def publish(
        self, bridge: str, node: str, port: int, host: str | None = None, protocol: str = "tcp"
    ) -> None:
        """Port 80 of a node's address."""
        at = None if host is None else ip_address(host)
        self.published.append(PublishedPort(protocol, at, port, ip_address(node), 80, bridge))

    def two_networks(self) -> None:
        """a and a2 on br-a, b on br-b, both with the host as their gateway, and an outside."""
        self.network("br-a", "10.0.1.1/24", "fd00:0:0:1::1/64")
        self.network("br-b", "10.0.2.1/24")
        self.node("a", "br-a", "10.0.1.2/24", "fd00:0:0:1::2/64")
        self.node("a2", "br-a", "10.0.1.3/24")
        self.node("b", "br-b", "10.0.2.2/24")
        self.outside()

    def outside(self) -> None:
        """The internet beyond wan0, which is none of ours; it has routes to every network."""
        prefixes = "10.0.0.0/8", "2001:db8:1::/64"
        foreign(
            "internet",
            "wan0",
            (f"{UPLINK}/24", f"{UPLINK6}/64"),
            (f"{OUTSIDE}/24", f"{OUTSIDE6}/64"),
            prefixes,
        )

    def outside_reaches(self, prefix: str) -> None:
        """The internet sends what goes there to us."""
        with inside("internet"), IPRoute() as far:
            far.route("add", dst=prefix, gateway=UPLINK)

    def fabric(self) -> Fabric:
        """What should be."""
        localnet = localnet_bridges(self.published)
        objects: list[Any] = []
        for bridge, (area, gateways) in self._networks.items():
            link = Name(HOST, bridge)
            settings = Settings(
                forwarding=area.gateway, forwarding6=area.gateway, route_localnet=bridge in localnet
            )
            objects.append(Bridge(link, area.mac, 1500, group_of(FABRIC), settings=settings))
            if area.gateway:
                # Without a link-local address the kernel asks for no neighbour of what it forwards.
                for interface in map(ip_interface, (*gateways, "fe80::1/64")):
                    objects.append(Address(link, interface.ip, interface.network.prefixlen))
        rules = [
            *firewall(FABRIC, self.areas, self.published, {4: self.uplinks, 6: self.uplinks}),
            *guard(FABRIC, self.ports),
        ]
        return Fabric(FABRIC, [*objects, *self._nodes, *rules])

    def apply(self) -> Fabric:
        """Make it so."""
        fabric = self.fabric()
        apply(fabric, self.host)
        return fabric

    def mac(self, node: str) -> str:
        """Of a node's eth0."""
        (found,) = (port.macs[0] for port in self.ports if port.link == f"nf{node}")
        return found

    def connect(self, source: str, address: str, port: int = 80) -> str | None:
        """What the server there says to `source`, which is whom it sees; None where nothing gets through."""
        return _connect(source, address, port, ANSWER)

    def is_stopped(self, source: str, address: str, port: int = 80) -> bool:
        """Whether nothing gets through to the server there."""
        return _connect(source, address, port, PATIENCE) is None


def _connect(source: str, address: str, port: int, seconds: float) -> str | None:
    with inside(source):
        client = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    with client:
        client.settimeout(seconds)
        try:
            client.connect((address, port))
            return client.recv(100).decode()
        except OSError:
            return None


@contextmanager
def inside(node: str) -> Iterator[None]:
    """This thread in the network namespace of a node or a foreign machine; `host` is where it is."""
    if node == "host":
        yield
        return
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{node if node in FOREIGN else f'{FABRIC}.{node}'}", os.O_RDONLY)
    try:
        linux.setns(there, linux.CLONE_NEWNET)
        yield
    finally:
        linux.setns(home, linux.CLONE_NEWNET)
        os.close(home)
        os.close(there)


def foreign(name: str, link: str, here: Sequence[str], there: Sequence[str], prefixes: Sequence[str]) -> None:
    """Somebody else's machine at the other end of a forwarding link; it reaches these prefixes through us."""
    path = f"/run/netns/{name}"
    os.makedirs("/run/netns", exist_ok=True)
    open(path, "x").close()
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    linux.unshare(linux.CLONE_NEWNET)
    linux.mount("/proc/thread-self/ns/net", path, flags=linux.MS_BIND)
    linux.setns(home, linux.CLONE_NEWNET)
    os.close(home)
    end = os.open(path, os.O_RDONLY)
    with IPRoute() as near:
        near.link("add", ifname=link, kind="veth", peer={"ifname": "eth0", "net_ns_fd": end})
        _address(near, link, here)
    os.close(end)
    for key in (f"ipv4/conf/{link}/forwarding", f"ipv6/conf/{link}/force_forwarding"):
        _write(key, "1")
    with inside(name), IPRoute() as far:
        far.link("set", index=1, state="up")
        _address(far, "eth0", there)
        for prefix in prefixes:
            (gateway,) = (text for text in here if (":" in text) == (":" in prefix))
            far.route("add", dst=prefix, gateway=gateway.partition("/")[0])
    assert wait_until_it_works(link, ANSWER)


def _address(route: IPRoute, link: str, addresses: Iterable[str]) -> None:
    """Up, with these addresses at once: duplicate detection would take a second."""
    _write(f"ipv6/conf/{link}/accept_dad", "0")
    (index,) = route.link_lookup(ifname=link)
    route.link("set", index=index, state="up")
    for text in addresses:
        address, _, length = text.partition("/")
        route.addr("add", index=index, address=address, prefixlen=int(length))


def _write(key: str, value: str) -> None:
    with open(f"/proc/sys/net/{key}", "w") as file:
        file.write(value)


@contextmanager
def serving(node: str, port: int = 80) -> Iterator[None]:
    """A TCP server in a node, for both families, that tells each client by which address it is seen."""
    with inside(node):
        server = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    child = os.fork()
    if child == 0:
        while True:
            connection, peer = server.accept()
            connection.sendall(peer[0].removeprefix("::ffff:").encode())
            connection.close()
    server.close()
    try:
        yield
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


class Wire:
    """Frames as they are: what a node puts on its cable, and what comes out of another's."""

    def __init__(self, node: str, link: str = "eth0") -> None:
        with inside(node):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            self._socket.bind((link, 0))
        self._socket.settimeout(60)

    def send(self, frame: bytes) -> None:
        self._socket.send(frame)

    def received(
        self, sender: Wire, frames: Iterable[bytes], last: bytes, witness: Wire | None = None
    ) -> list[bytes]:
        """Which frames arrive here when `sender` sends them; `last`, which `witness` sends, surely does."""
        sent = list(frames)
        for frame in sent:
            sender.send(frame)
        (witness or sender).send(last)
        seen = self.until(last)
        return [frame for frame in sent if frame in seen]

    def until(self, last: bytes) -> list[bytes]:
        """All that arrives before `last` does. A first VLAN tag is off by then."""
        return list(iter(lambda: self._socket.recv(2000), last))


def ethernet(source: str, protocol: int, payload: bytes, destination: str = "ff:ff:ff:ff:ff:ff") -> bytes:
    """A frame; without padding, which a bridge cuts off where IP hooks see its frames."""
    return _mac(destination) + _mac(source) + struct.pack("!H", protocol) + payload


def arp(mac: str, address: str, ether: str = "") -> bytes:
    """A gratuitous announcement; `ether` is the frame's source if it is not the sender's."""
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + _mac(mac) + ip_address(address).packed
    return ethernet(ether or mac, 0x0806, body + bytes(6) + ip_address(address).packed)


def tagged(frame: bytes, *protocols: int) -> bytes:
    """The frame behind such tags, outermost first, of VLAN 0: IEEE 802.1Q's "of no VLAN"."""
    return frame[:12] + b"".join(struct.pack("!HH", protocol, 0) for protocol in protocols) + frame[12:]


def udp(mac: str, source: str, port: int = 9) -> bytes:
    """A datagram to a port of everybody."""
    return packet(mac, source, 17, struct.pack("!HHHH", 9, port, 8, 0))


def icmpv6(mac: str, source: str, kind: int, target: str = "") -> bytes:
    """A message of neighbour discovery to everybody."""
    head = struct.pack("!BBHI", kind, 0, 0, 0)
    return packet(mac, source, 58, head + (ip_address(target).packed if target else b""))


def packet(mac: str, source: str, protocol: int, body: bytes, to: tuple[str, str] | None = None) -> bytes:
    """IPv4 or IPv6, to everybody or to a MAC and an address."""
    here = ip_address(source)
    if here.version == 4:
        ether, there = to or ("ff:ff:ff:ff:ff:ff", "255.255.255.255")
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0)
        head += here.packed + ip_address(there).packed
        return ethernet(mac, 0x0800, head[:10] + _checksum(head) + head[12:] + body, ether)
    ether, there = to or ("33:33:00:00:00:01", "ff02::1")
    head = struct.pack("!IHBB", 0x60000000, len(body), protocol, 255)
    return ethernet(mac, 0x86DD, head + here.packed + ip_address(there).packed + body, ether)


def _checksum(head: bytes) -> bytes:
    total = sum(struct.unpack(f"!{len(head) // 2}H", head))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def listed(family: str) -> list[Any]:
    """What nft prints of one of the fabric's tables."""
    printed = subprocess.run(
        [nft.program(), "-j", "list", "table", family, f"netfab-{FABRIC}"], check=True, capture_output=True
    )
    found: list[Any] = json.loads(printed.stdout)["nftables"]
    return found


def counters(family: str, chain: str) -> list[int]:
    """The packets that each rule of a chain counted."""
    return [
        expression["counter"]["packets"]
        for item in listed(family)
        if item.get("rule", {}).get("chain") == chain
        for expression in item["rule"]["expr"]
        if "counter" in expression
    ]
