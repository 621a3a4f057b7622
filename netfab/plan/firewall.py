"""The host's firewall: which networks it forwards between, what leaves under its address, what is published.

Pure, from the plain values below. Bridges, prefixes and published ports stand in sets and maps, and the rules
(firewall_rules.py) are the same for every fabric that uses the same features: a live change touches elements
only. Which frames a port may send at all is guard.py's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses

from netfab.objects.firewall import OPEN, Element, Firewall, Set, prefix_part, table_name
from netfab.objects.link import group_of
from netfab.plan.firewall_rules import (
    LOOPBACK,
    PUBLISHING,
    forward,
    in_the_clear,
    strangers,
    uplinked,
    ways_out,
)
from netfab.plan.names import EVERYWHERE
from netfab.tuples import NamedTuple

_NONE: Mapping[int, Sequence[str]] = {}
_ULA = IPv6Network("fc00::/7")


class Area(NamedTuple):
    """A bridge of the fabric for the firewall; not an `external` one, which is somebody else's."""

    bridge: str
    mac: str
    prefixes: tuple[IPv4Network | IPv6Network, ...] = ()  # its subnets, and those behind its routers
    gateway: bool = True  # the host is its gateway
    masquerade: bool = True
    internal: bool = False
    isolated: bool = False
    uplink: bool = False  # a NIC of the host is a port of it: it is also the host's way out
    members: tuple[IPv4Network | IPv6Network, ...] = ()  # if so: the prefixes that are not outside
    passes: bool = False  # if so: the host forwards that NIC's packets without our help

    @property
    def open(self) -> bool:
        """Whether anything is forwarded between it and other networks."""
        return self.gateway and not self.internal


class PublishedPort(NamedTuple):
    """A port of the host that is forwarded to a node."""

    protocol: str  # tcp, udp, sctp
    host: IPv4Address | IPv6Address | None  # of the node's family; None: all that the host has
    host_port: int
    node: IPv4Address | IPv6Address
    node_port: int
    bridge: str  # through which the host reaches the node


class TunnelEnds(NamedTuple):
    """Where the fabric's tunnels on this host receive, and from whom."""

    ports: tuple[int, ...]  # UDP
    vnis: tuple[int, ...]
    peers: frozenset[IPv4Address | IPv6Address]
    encrypted: tuple[int, ...] = ()  # VNIs with traffic only through our ESP


def firewall(
    fabric: str,
    areas: Sequence[Area],
    published: Sequence[PublishedPort] = (),
    uplinks: Mapping[int, Sequence[str]] = _NONE,
    tunnels: TunnelEnds | None = None,
) -> Iterator[Firewall]:
    """The fabric's `inet` table; none without a bridge.

    `uplinks`: by family the interfaces whose forwarding we enable; EVERYWHERE for all of them. Connections
    are tracked, which costs all traffic of the host, only if a network has a way out.
    """
    if not areas:
        return
    tracked = any(area.open for area in areas)
    chains = [forward(group_of(fabric), [(family, EVERYWHERE in on) for family, on in uplinks.items() if on])]
    sets = list(_between(areas))
    for family, on in uplinks.items():
        if on and EVERYWHERE not in on:
            sets.append(Set(f"uplinks{family}", ("ifname",)).holding((name,) for name in on))
    if any(area.uplink for area in areas):
        chains += uplinked(group_of(fabric), tracked)
        sets += _uplinked(areas)
    if tracked:
        chains += ways_out(any(area.uplink for area in areas))
        own = Set("gateways", ("ifname", "ether_addr")).holding((area.bridge, area.mac) for area in areas)
        sets += [own, *_masqueraded(areas), *_hairpins(areas, published)]
        if published:
            chains += PUBLISHING
            sets += _published(published)
    if tunnels is not None:
        chains.append(strangers(tunnels.ports, tunnels.vnis, tunnels.encrypted, group_of(fabric)))
        if tunnels.encrypted:
            chains.append(in_the_clear(tunnels.ports, tunnels.encrypted))
        for version in (4, 6):
            peers = Set(f"peers{version}", (f"ipv{version}_addr",))
            sets.append(peers.holding((str(a),) for a in tunnels.peers if a.version == version))
    yield Firewall("inet", table_name(fabric), tuple(chains), tuple(sets))


def localnet_bridges(published: Iterable[PublishedPort]) -> frozenset[str]:
    """Bridges that need `route_localnet`: the host reaches ports behind them by its address 127.0.0.1.

    To be set once the firewall is there: it drops what comes over a bridge to or from 127.0.0.0/8.
    """
    return frozenset(
        port.bridge
        for port in published
        if port.node.version == 4 and (port.host is None or port.host.is_loopback)
    )


def _between(areas: Sequence[Area]) -> Iterator[Set]:
    """What is forwarded within a bridge, out of it, and into it."""
    verdict = ("verdict",)
    yield Set("same", ("ifname", "ifname"), verdict).holding(map(_same, areas))
    yield Set("leaving", ("ifname",), verdict).holding(map(_leaving, areas))
    yield Set("entering", ("ifname",), verdict).holding(map(_entering, areas))
    yield Set(OPEN, ("ifname",)).holding((area.bridge,) for area in areas if area.open)
    yield Set("inside", ("ifname",)).holding((area.bridge,) for area in areas)


def _uplinked(areas: Sequence[Area]) -> Iterator[Set]:
    """Bridges that are also ways out: their members, and what is forwarded between members and others."""
    verdict, here = ("verdict",), [area for area in areas if area.uplink]
    yield Set("ways-out", ("ifname",)).holding((area.bridge,) for area in here)
    yield Set("passing", ("ifname",)).holding((area.bridge,) for area in here if area.passes)
    yield Set("apart", ("ifname",), verdict).holding((area.bridge, _among(area)) for area in here)
    yield Set("from-member", ("ifname",), verdict).holding((area.bridge, _out_of(area)) for area in here)
    yield Set("to-member", ("ifname",), verdict).holding((area.bridge, _into(area)) for area in here)
    yield Set("stations", ("ifname", "ether_addr")).holding((area.bridge, area.mac) for area in here)
    for version in (4, 6):
        held = Set(f"members{version}", ("ifname", f"ipv{version}_addr"), flags=("interval",))
        yield held.holding(
            (area.bridge, prefix_part(prefix))
            for area in here
            for prefix in apart(area.members)
            if prefix.version == version
        )


def _same(area: Area) -> Element:
    # With bridge-nf-call-iptables, bridged frames come here, too. On a network whose gateway is the host all
    # ports are isolated from each other: nothing is dropped here that the bridge would let through.
    return area.bridge, area.bridge, "goto beside" if area.uplink else _among(area)


def _leaving(area: Area) -> Element:
    return area.bridge, "goto from-outside" if area.uplink else _out_of(area)


def _entering(area: Area) -> Element:
    return area.bridge, "goto to-outside" if area.uplink else _into(area)


def _among(area: Area) -> str:
    return "drop" if area.isolated and area.gateway else "accept"


def _out_of(area: Area) -> str:
    return "goto leave" if area.open else "drop"


def _into(area: Area) -> str:
    return "drop" if not area.open else "goto enter" if area.masquerade else "goto enter-routed"


def _masqueraded(areas: Iterable[Area]) -> Iterator[Set]:
    """Sources that are masqueraded; of IPv6 only those that nobody outside could answer."""
    prefixes = [prefix for area in areas if area.open and area.masquerade for prefix in area.prefixes]
    six = [prefix for prefix in prefixes if isinstance(prefix, IPv6Network) and prefix.subnet_of(_ULA)]
    four = [prefix for prefix in prefixes if prefix.version == 4]
    for version, found in ((4, four), (6, six)):
        held = Set(f"masqueraded{version}", (f"ipv{version}_addr",), flags=("interval",))
        yield held.holding((prefix_part(prefix),) for prefix in apart(found))


def apart(prefixes: Iterable[IPv4Network | IPv6Network]) -> Iterator[IPv4Network | IPv6Network]:
    """Without overlaps, which the kernel refuses in a set of prefixes."""
    yield from collapse_addresses(prefix for prefix in prefixes if isinstance(prefix, IPv4Network))
    yield from collapse_addresses(prefix for prefix in prefixes if isinstance(prefix, IPv6Network))


def _hairpins(areas: Iterable[Area], published: Sequence[PublishedPort]) -> Iterator[Set]:
    """(bridge, source) of clients of a published port from behind its own bridge, or through 127.0.0.1."""
    bridges = {port.bridge for port in published}
    found = [
        (area.bridge, prefix) for area in areas if area.bridge in bridges for prefix in apart(area.prefixes)
    ]
    found += [(bridge, LOOPBACK) for bridge in localnet_bridges(published)]
    for version in (4, 6):
        held = Set(f"hairpin{version}", ("ifname", f"ipv{version}_addr"), flags=("interval",))
        yield held.holding(
            (bridge, prefix_part(prefix)) for bridge, prefix in found if prefix.version == version
        )


def _published(published: Iterable[PublishedPort]) -> Iterator[Set]:
    """Maps by port, and by address and port."""
    port_key = ("inet_proto", "inet_service")
    for version in (4, 6):
        family = f"ipv{version}_addr"
        here = [port for port in published if port.node.version == version]
        at = {(str(port.host), *_asked(port)): port for port in here if port.host is not None}
        anywhere = {_asked(port): port for port in here if port.host is None}
        yield from _targets(f"published{version}-at", (family, *port_key), family, at)
        yield from _targets(f"published{version}", port_key, family, anywhere)


def _asked(port: PublishedPort) -> Element:
    return port.protocol, str(port.host_port)


def _targets(
    name: str, key: tuple[str, ...], family: str, published: Mapping[Element, PublishedPort]
) -> Iterator[Set]:
    """Address and port are in two maps: in JSON, nft 1.0.6 takes no map to both at once."""
    addresses = Set(f"{name}-address", key, (family,))
    ports = Set(f"{name}-port", key, ("inet_service",))
    yield addresses.holding((*asked, str(port.node)) for asked, port in published.items())
    yield ports.holding((*asked, str(port.node_port)) for asked, port in published.items())
