"""What a port may send: its own MAC and addresses and those it was allowed, and no answers that only routers give.

The `bridge` table sees each frame once, as it enters from a port, before the bridge does. It looks at our ports only:
foreign bridges and other fabrics' stay untouched. Every drop is counted, by port. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Literal, NamedTuple

from netfab.objects.expressions import (
    ACCEPT,
    COUNT,
    DROP,
    Expression,
    goto,
    header,
    masked,
    match,
    meta,
    together,
    verdict_of,
)
from netfab.objects.firewall import Chain, Element, Firewall, Rule, Set, table_name
from netfab.objects.link import group_of, scratch_of

PREROUTING = -300  # linux/netfilter_bridge.h, NF_BR_PRI_NAT_DST_BRIDGED: before IP hooks that a bridge may call
GUARDED = "guarded"  # the set that counts what each port was denied; objects/firewall.py, `dropped`

DHCP_CLIENT, DHCPV6_CLIENT = 68, 546  # RFC 2131, RFC 8415: what only a server sends to
ROUTER_ADVERTISEMENT, REDIRECT = 134, 137  # RFC 4861


class GuardedPort(NamedTuple):
    """A link that is a port of a bridge, with all that its node may send from it."""

    link: str  # the host's end
    macs: tuple[str, ...] = ()  # its own and those of `allow`; lower case
    addresses: tuple[IPv4Address | IPv6Address, ...] = ()  # its own, its node's loopbacks, those of `allow`
    routed: tuple[IPv4Network | IPv6Network, ...] = ()  # prefixes behind its node, a router
    # all · mac: only MACs, where we give no addresses · none: `spoof: allow`, and what is no node's
    guard: Literal["all", "mac", "none"] = "all"


def guard(fabric: str, ports: Sequence[GuardedPort]) -> Iterator[Firewall]:
    """The fabric's `bridge` table; none where no port is guarded. A port of ours that it does not name is cut off."""
    guarded = [port for port in ports if port.guard != "none"]
    if not guarded:
        return
    chains = _prerouting(group_of(fabric)), _GUEST, _GUEST_ARP, _GUEST_IP, _GUEST_IP6, _STATION, _REFUSE
    stations = [
        (port.link, mac, "goto guest" if port.guard == "all" else "goto station")
        for port in guarded
        for mac in port.macs
    ]
    sets = (
        _filled("stations", ("ifname", "ether_addr"), stations, data=("verdict",)),
        _filled("free", ("ifname",), ((port.link,) for port in ports if port.guard == "none")),
        _filled(GUARDED, ("ifname",), ((port.link,) for port in guarded), counted=True),
        *(_senders(version, guarded) for version in (4, 6)),
        *(_routed(version, guarded) for version in (4, 6)),
    )
    yield Firewall("bridge", table_name(fabric), chains, sets)


def _prerouting(group: int) -> Chain:
    unknown = match(masked(meta("iifgroup"), 0xFFFFFFFF & ~(scratch_of(0))), group)  # ours, also while it is deleted
    return Chain(
        "prerouting",
        (
            Rule.of(verdict_of(together(meta("iifname"), header("ether", "saddr")), "@stations")),
            Rule.of(match(meta("iifname"), "@free"), ACCEPT),
            Rule.of(match(meta("iifname"), f"@{GUARDED}"), DROP),
            Rule.of(unknown, COUNT, DROP),
        ),
        "filter",
        "prerouting",
        PREROUTING,
        "accept",
    )


def _protocol(name: str) -> Expression:
    return match(meta("protocol"), name)


def _sender(mac: Expression, address: Expression) -> Expression:
    return together(meta("iifname"), mac, address)


_refuse = goto("refuse")
_NO_DHCP_SERVER = Rule.of(_protocol("ip"), match(header("udp", "dport"), DHCP_CLIENT), _refuse)
_NO_DHCPV6_SERVER = Rule.of(_protocol("ip6"), match(header("udp", "dport"), DHCPV6_CLIENT), _refuse)
_NO_ROUTER = Rule.of(match(header("icmpv6", "type"), {"set": [ROUTER_ADVERTISEMENT, REDIRECT]}), _refuse)

_GUEST = Chain(
    "guest",
    (
        Rule.of(
            verdict_of(
                meta("protocol"),
                {"set": [["arp", goto("guest-arp")], ["ip", goto("guest-ip")], ["ip6", goto("guest-ip6")]]},
            )
        ),
    ),
)
_GUEST_ARP = Chain(
    "guest-arp",
    (
        Rule.of(match(_sender(header("arp", "saddr ether"), header("arp", "saddr ip")), "@senders4"), ACCEPT),
        Rule.of(match(header("arp", "saddr ip"), "0.0.0.0"), ACCEPT),  # a probe, RFC 5227
        Rule.of(_refuse),
    ),
)
_GUEST_IP = Chain(
    "guest-ip",
    (
        _NO_DHCP_SERVER,
        Rule.of(match(_sender(header("ether", "saddr"), header("ip", "saddr")), "@senders4"), ACCEPT),
        Rule.of(match(header("ip", "saddr"), "0.0.0.0"), ACCEPT),  # a DHCP client
        Rule.of(match(together(meta("iifname"), header("ip", "saddr")), "@routed4"), ACCEPT),
        Rule.of(_refuse),
    ),
)
_LINK_LOCAL = {"prefix": {"addr": "fe80::", "len": 10}}
_GUEST_IP6 = Chain(
    "guest-ip6",
    (
        _NO_DHCPV6_SERVER,
        _NO_ROUTER,
        Rule.of(match(_sender(header("ether", "saddr"), header("ip6", "saddr")), "@senders6"), ACCEPT),
        Rule.of(match(header("ip6", "saddr"), {"set": ["::", _LINK_LOCAL]}), ACCEPT),
        Rule.of(match(together(meta("iifname"), header("ip6", "saddr")), "@routed6"), ACCEPT),
        Rule.of(_refuse),
    ),
)
_STATION = Chain("station", (_NO_DHCP_SERVER, _NO_DHCPV6_SERVER, _NO_ROUTER))
_REFUSE = Chain("refuse", (Rule.of(match(meta("iifname"), f"@{GUARDED}"), DROP), Rule.of(DROP)))


def _senders(version: int, ports: Iterable[GuardedPort]) -> Set:
    """(port, MAC, address) of everything that a port may send as."""
    elements = (
        (port.link, mac, str(address))
        for port in ports
        if port.guard == "all"
        for mac in port.macs
        for address in port.addresses
        if address.version == version
    )
    return _filled(f"senders{version}", ("ifname", "ether_addr", f"ipv{version}_addr"), elements)


def _routed(version: int, ports: Iterable[GuardedPort]) -> Set:
    elements = (
        (port.link, str(prefix.network_address) if prefix.prefixlen == prefix.max_prefixlen else str(prefix))
        for port in ports
        if port.guard == "all"
        for prefix in port.routed
        if prefix.version == version
    )
    return _filled(f"routed{version}", ("ifname", f"ipv{version}_addr"), elements, flags=("interval",))


def _filled(
    name: str,
    key: tuple[str, ...],
    elements: Iterable[Element],
    data: tuple[str, ...] = (),
    flags: tuple[str, ...] = (),
    counted: bool = False,
) -> Set:
    return Set(name, key, data, flags, counted, tuple(sorted(set(elements))))
