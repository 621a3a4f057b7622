"""The host's firewall: which networks the host forwards between, what leaves under its address, what is published.

Pure, from the plain values below. Data (bridges, prefixes, published ports) stands in sets and maps, and the rules are
the same for every fabric that uses the same features: a live change touches elements. Which frames a port may send at
all is guard.py's business; how rules are written and read back is objects/firewall.py's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses
from typing import NamedTuple

from netfab.objects.expressions import (
    ACCEPT,
    COUNT,
    DROP,
    MASQUERADE,
    RETURN,
    Expression,
    ct_state,
    ct_status,
    dnat,
    goto,
    header,
    jump,
    looked_up,
    masked,
    match,
    meta,
    to_this_host,
    together,
    verdict_of,
)
from netfab.objects.firewall import Chain, Element, Firewall, Rule, Set, table_name
from netfab.objects.link import group_of

RAW, DSTNAT, FILTER, SRCNAT = -300, -100, 0, 100  # linux/netfilter_ipv4.h, enum nf_ip_hook_priorities

_LOOPBACK = IPv4Network("127.0.0.0/8")
_ULA = IPv6Network("fc00::/7")
_ANY_FABRIC = 0xFF000000  # the bits of a link's group that are the same for every fabric


class Area(NamedTuple):
    """A bridge of the fabric's, as the firewall sees it. Not an `external` one: that is somebody else's to guard."""

    bridge: str
    prefixes: tuple[IPv4Network | IPv6Network, ...] = ()  # its subnets, and what its routers lead the host to
    gateway: bool = True  # the host is its gateway
    masquerade: bool = True
    internal: bool = False
    isolated: bool = False

    @property
    def open(self) -> bool:
        """Whether anything is forwarded between it and elsewhere."""
        return self.gateway and not self.internal


class PublishedPort(NamedTuple):
    """A port of the host that is a node's. Host and node address are of the same family."""

    protocol: str  # tcp, udp
    host: IPv4Address | IPv6Address | None  # None: every address of the host, of the node's family
    host_port: int
    node: IPv4Address | IPv6Address
    node_port: int
    bridge: str  # by which the host reaches the node


def firewall(
    fabric: str, areas: Sequence[Area], published: Sequence[PublishedPort] = (), uplinks: Sequence[str] = ()
) -> Iterator[Firewall]:
    """The fabric's `inet` table; none where it has no bridge.

    `uplinks` are the interfaces whose forwarding flag we switch on. Conntrack is used, and with it paid for by all
    traffic of the host, only where a network has a way out.
    """
    if not areas:
        return
    ways_out = any(area.open for area in areas)
    chains = [_forward(bool(uplinks))]
    sets = [*_between(areas), *_uplinks(uplinks)]
    if ways_out:
        chains += [_LEAVE, _ENTER, _ENTER_ROUTED, _POSTROUTING]
        sets += [*_masqueraded(areas), *_hairpins(areas, published)]
    if published:
        chains += [_RAW, _PUBLISH, _PREROUTING, _OUTPUT]
        sets += _published(published)
    yield Firewall("inet", table_name(fabric), tuple(chains), tuple(sets))


def localnet_bridges(published: Iterable[PublishedPort]) -> frozenset[str]:
    """Bridges that need `route_localnet`: the host reaches ports behind them by its address 127.0.0.1.

    To be set after the firewall is there, which keeps 127.0.0.0/8 out that comes over a bridge.
    """
    return frozenset(port.bridge for port in published if port.node.version == 4 and _on_loopback(port))


def _on_loopback(port: PublishedPort) -> bool:
    return port.host is None or port.host.is_loopback


# --- rules


def _is_fabric(key: str) -> Expression:
    return masked(meta(key), _ANY_FABRIC)


def _forward(uplinks: bool) -> Chain:
    rules = [
        Rule.of(verdict_of(together(meta("iifname"), meta("oifname")), "@same")),
        Rule.of(verdict_of(meta("iifname"), "@leaving")),
        Rule.of(verdict_of(meta("oifname"), "@entering")),
    ]
    if uplinks:
        # Their forwarding flag was off before us: what neither comes from nor goes to a fabric gets no new way.
        foreign = match(_is_fabric("oifgroup"), group_of("") & _ANY_FABRIC, op="!=")
        new = ct_state("invalid", "new", "untracked")
        rules.append(Rule.of(match(meta("iifname"), "@uplinks"), foreign, new, COUNT, DROP))
    return Chain("forward", tuple(rules), "filter", "forward", FILTER, "accept")


_LEAVE = Chain(
    "leave",
    (
        Rule.of(match(meta("oifname"), "@open"), ct_status("dnat"), ACCEPT),
        Rule.of(match(meta("oifname"), "@inside"), COUNT, DROP),
    ),
)
_ENTER = Chain(
    "enter",
    (
        Rule.of(ct_status("dnat"), ACCEPT),
        Rule.of(ct_state("established", "related"), ACCEPT),
        Rule.of(COUNT, DROP),
    ),
)
_ENTER_ROUTED = Chain(
    "enter-routed",  # open to what is outside, which other fabrics are not
    (Rule.of(match(_is_fabric("iifgroup"), group_of("") & _ANY_FABRIC), goto("enter")),),
)


def _source(family: str) -> Expression:
    return header("ip" if family == "4" else "ip6", "saddr")


_POSTROUTING = Chain(
    "postrouting",
    (
        # Else the answer to a published port of the same network goes there directly, under another address.
        *(
            Rule.of(
                ct_status("dnat"),
                match(together(meta("oifname"), _source(family)), f"@hairpin{family}"),
                MASQUERADE,
            )
            for family in "46"
        ),
        *(
            Rule.of(
                match(_source(family), f"@masqueraded{family}"), match(meta("oifname"), "@inside", op="!="), MASQUERADE
            )
            for family in "46"
        ),
    ),
    "nat",
    "postrouting",
    SRCNAT,
    "accept",
)


def _loopback_of_bridges(field: str) -> Rule:
    loopback = {"prefix": {"addr": str(_LOOPBACK.network_address), "len": _LOOPBACK.prefixlen}}
    over_a_bridge = match(meta("iifname"), "@inside"), match(meta("iifname"), "lo", op="!=")
    return Rule.of(*over_a_bridge, match(header("ip", field), loopback), COUNT, DROP)


_RAW = Chain("raw", tuple(map(_loopback_of_bridges, ("daddr", "saddr"))), "filter", "prerouting", RAW, "accept")

_PORT = meta("l4proto"), header("th", "dport")
_HAS_PORTS = match(meta("l4proto"), {"set": [6, 17]})  # tcp, udp; numbers, as no /etc/protocols is needed for them


def _dnat(family: str, at: bool) -> Rule:
    protocol = "ip" if family == "4" else "ip6"
    key = together(*((header(protocol, "daddr"),) if at else ()), *_PORT)
    name = f"published{family}{'-at' if at else ''}"
    to = looked_up(key, f"{name}-address"), looked_up(key, f"{name}-port")
    return Rule.of(match(meta("nfproto"), f"ipv{family}"), _HAS_PORTS, dnat(protocol, *to))


_PUBLISH = Chain(
    "publish",
    (
        # There is no route_localnet for IPv6: who asks ::1 is better told at once that nobody listens.
        Rule.of(match(header("ip6", "daddr"), "::1"), RETURN),
        *(_dnat(family, at) for family in "46" for at in (True, False)),
    ),
)
_TO_PUBLISH = (Rule.of(to_this_host(), jump("publish")),)
_PREROUTING = Chain("prerouting", _TO_PUBLISH, "nat", "prerouting", DSTNAT, "accept")
_OUTPUT = Chain("output", _TO_PUBLISH, "nat", "output", DSTNAT, "accept")


# --- data


def _between(areas: Sequence[Area]) -> Iterator[Set]:
    """What may be forwarded from one bridge to the same, out of it, and into it."""
    yield _filled("same", ("ifname", "ifname"), map(_same, areas), data=("verdict",))
    yield _filled("leaving", ("ifname",), map(_leaving, areas), data=("verdict",))
    yield _filled("entering", ("ifname",), map(_entering, areas), data=("verdict",))
    yield _filled("open", ("ifname",), ((area.bridge,) for area in areas if area.open))
    # The host's own traffic to itself passes postrouting, too.
    yield _filled("inside", ("ifname",), [("lo",), *((area.bridge,) for area in areas)])


def _same(area: Area) -> Element:
    # Also frames that are bridged come here, on hosts with bridge-nf-call-iptables; ports that only a host's gateway
    # joins are isolated from each other anyway.
    return area.bridge, area.bridge, "drop" if area.isolated and area.gateway else "accept"


def _leaving(area: Area) -> Element:
    return area.bridge, "goto leave" if area.open else "drop"


def _entering(area: Area) -> Element:
    return area.bridge, "drop" if not area.open else "goto enter" if area.masquerade else "goto enter-routed"


def _uplinks(uplinks: Iterable[str]) -> Iterator[Set]:
    if elements := [(name,) for name in uplinks]:
        yield _filled("uplinks", ("ifname",), elements)


def _masqueraded(areas: Iterable[Area]) -> Iterator[Set]:
    """Source prefixes that leave under the host's address: of IPv6 only those that nobody outside can answer."""
    prefixes = [prefix for area in areas if area.open and area.masquerade for prefix in area.prefixes]
    four = collapse_addresses(prefix for prefix in prefixes if isinstance(prefix, IPv4Network))
    six = collapse_addresses(
        prefix for prefix in prefixes if isinstance(prefix, IPv6Network) and prefix.subnet_of(_ULA)
    )
    yield _filled("masqueraded4", ("ipv4_addr",), ((_text(prefix),) for prefix in four), flags=("interval",))
    yield _filled("masqueraded6", ("ipv6_addr",), ((_text(prefix),) for prefix in six), flags=("interval",))


def _hairpins(areas: Iterable[Area], published: Iterable[PublishedPort]) -> Iterator[Set]:
    """Who asks a published port from behind the same bridge, or from 127.0.0.1."""
    bridges = {port.bridge for port in published}
    sources = {
        (area.bridge, prefix) for area in areas if area.open and area.bridge in bridges for prefix in area.prefixes
    }
    sources.update((bridge, _LOOPBACK) for bridge in localnet_bridges(published))
    for version, prefixes in ((4, IPv4Network), (6, IPv6Network)):
        found = [(bridge, _text(prefix)) for bridge, prefix in sources if isinstance(prefix, prefixes)]
        yield _filled(f"hairpin{version}", ("ifname", f"ipv{version}_addr"), found, flags=("interval",))


def _published(published: Iterable[PublishedPort]) -> Iterator[Set]:
    """Address and port of a node lie in two maps: in JSON, nft 1.0.6 takes no map to both at once."""
    port_key = ("inet_proto", "inet_service")
    for version in (4, 6):
        address = f"ipv{version}_addr"
        here = [port for port in published if port.node.version == version]
        anywhere = {(port.protocol, str(port.host_port)): port for port in here if port.host is None}
        at = {(str(port.host), port.protocol, str(port.host_port)): port for port in here if port.host is not None}
        yield from _targets(f"published{version}-at", (address, *port_key), address, at)
        yield from _targets(f"published{version}", port_key, address, anywhere)


def _targets(
    name: str, key: tuple[str, ...], address: str, published: Mapping[Element, PublishedPort]
) -> Iterator[Set]:
    addresses = ((*wanted, str(port.node)) for wanted, port in published.items())
    ports = ((*wanted, str(port.node_port)) for wanted, port in published.items())
    yield _filled(f"{name}-address", key, addresses, data=(address,))
    yield _filled(f"{name}-port", key, ports, data=("inet_service",))


def _filled(
    name: str,
    key: tuple[str, ...],
    elements: Iterable[Element],
    data: tuple[str, ...] = (),
    flags: tuple[str, ...] = (),
) -> Set:
    return Set(name, key, data, flags, elements=tuple(sorted(elements)))


def _text(prefix: IPv4Network | IPv6Network) -> str:
    """As nft prints it: a prefix of one address is that address."""
    return str(prefix.network_address) if prefix.prefixlen == prefix.max_prefixlen else str(prefix)
