"""What a port may send: its own MAC and addresses and those it was allowed, nothing that only routers say.

The `bridge` table sees each frame once, as it enters from a port, before the bridge does. It looks at our
ports only: foreign bridges and other fabrics' stay untouched. Every drop is counted, by port. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Literal

from netfab.objects.expressions import (
    ACCEPT,
    COUNT,
    DROP,
    RETURN,
    Expression,
    goto,
    header,
    jump,
    match,
    meta,
    raw_header,
    together,
    verdict_of,
)
from netfab.objects.firewall import Chain, Element, Firewall, Rule, Set, prefix_part, table_name
from netfab.objects.link import group_of
from netfab.plan.firewall import apart
from netfab.plan.firewall_rules import of_fabric
from netfab.tuples import NamedTuple

# linux/netfilter_bridge.h, NF_BR_PRI_NAT_DST_BRIDGED: before IP hooks that a bridge may call.
PREROUTING = -300
GUARDED = "guarded"  # the set that counts drops by port; objects/firewall.py, `dropped`

DHCP_CLIENT, DHCPV6_CLIENT = 68, 546  # RFC 2131, RFC 8415: ports that only a server sends to
ROUTER_ADVERTISEMENT, ADVERTISEMENT, REDIRECT = 134, 136, 137  # RFC 4861
VLAN_TAGS = [0x8100, 0x88A8]  # linux/if_ether.h, ETH_P_8021Q and ETH_P_8021AD


class GuardedPort(NamedTuple):
    """A link that is a port of a bridge, with everything its node may send."""

    link: str  # the host's end
    macs: tuple[str, ...] = ()  # its own and those of `allow`; lower case
    addresses: tuple[IPv4Address | IPv6Address, ...] = ()  # its own, its node's loopbacks, those of `allow`
    routed: tuple[IPv4Network | IPv6Network, ...] = ()  # prefixes behind its node, a router
    # all · mac: only MACs, where we give no addresses · none: `spoof: allow`, and what is no node's
    guard: Literal["all", "mac", "none"] = "all"


def guard(
    fabric: str, ports: Sequence[GuardedPort], tunnels: Sequence[str] = (), uplinked: bool = False
) -> Iterator[Firewall]:
    """The fabric's `bridge` table; none if no port is guarded. Unlisted ports of ours are blocked.

    What comes from `tunnels` was checked by its sender. `uplinked`: a NIC of the host is a port, too; from it
    only what would make routes is refused.
    """
    guarded = [port for port in ports if port.guard != "none"]
    if not guarded and not tunnels:
        return
    free = [*tunnels, *(port.link for port in ports if port.guard == "none")]
    chains = (
        *(_prerouting(group_of(fabric)), _GUEST, _GUEST_ARP, _GUEST_IP, _GUEST_IP6, _STATION, _REFUSE),
        *((_FORWARD,) if uplinked else ()),
    )
    stations = (
        (port.link, mac, "goto guest" if port.guard == "all" else "goto station")
        for port in guarded
        for mac in port.macs
    )
    sets = (
        Set("stations", ("ifname", "ether_addr"), ("verdict",)).holding(stations),
        Set("free", ("ifname",)).holding((link,) for link in free),
        Set(GUARDED, ("ifname",), counted=True).holding((port.link,) for port in guarded),
        *(_senders(version, guarded) for version in (4, 6)),
        *(_routed(version, guarded) for version in (4, 6)),
        Set("ipv6", ("ifname",)).holding((port.link,) for port in guarded if _has_link_local(port)),
    )
    yield with_advertisements(Firewall("bridge", table_name(fabric), chains, sets))


def _prerouting(group: int) -> Chain:
    # Ours, but not listed: not yet, or no longer. nft's own word for "a port of this bridge", `meta ibrname`,
    # needs a kernel module that many systems don't have.
    unknown = of_fabric("iifgroup", group)
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


def _no_server(protocol: str, client: int) -> Rule:
    return Rule.of(match(meta("protocol"), protocol), match(header("udp", "dport"), client), _REFUSED)


def _own(protocol: str, version: int, mac: Expression, address: str) -> Rule:
    """Accept what comes from a MAC with an address that belongs to it."""
    sender = together(meta("iifname"), mac, header(protocol, address))
    return Rule.of(match(sender, f"@senders{version}"), ACCEPT)


def _behind(protocol: str, version: int) -> Rule:
    """Accept what a router forwards."""
    return Rule.of(match(together(meta("iifname"), header(protocol, "saddr")), f"@routed{version}"), ACCEPT)


_ADVERTISEMENT, _SENDERS = "advertisement", "senders{}"  # a chain; sets
_REFUSED = goto("refuse")
# The target of an advertisement, its first bits, and the two bytes in it that are FFFE if it is made from a
# MAC.
_TARGET, _TARGET_PREFIX, _TARGET_MIDDLE = raw_header(64, 128), raw_header(64, 10), raw_header(152, 16)
_NO_DHCP_SERVER = _no_server("ip", DHCP_CLIENT)
_NO_DHCPV6_SERVER = _no_server("ip6", DHCPV6_CLIENT)
# In every rule that refuses: otherwise nft adds a test of the frame's own type, which a VLAN tag hides.
_IPV6 = match(meta("protocol"), "ip6")
_NO_ROUTER = Rule.of(
    _IPV6,
    match(header("icmpv6", "type"), {"set": [ROUTER_ADVERTISEMENT, REDIRECT]}),
    _REFUSED,
)

# Of two tags the first is off by now. A receiver removes both if they say VLAN 0, and finds a packet that
# nobody has checked (CVE-2021-27853).
_NO_TAG = Rule.of(match(meta("protocol"), {"set": VLAN_TAGS}), _REFUSED)

# A bridge with no spanning tree of its own floods those of others, IEEE's and Cisco's. A switch beyond a NIC
# of ours would believe a node, or cut this host off.
_TREES = ["01:80:c2:00:00:00", "01:00:0c:cc:cc:cd"]
_NO_TREE = Rule.of(match(header("ether", "daddr"), {"set": _TREES}), _REFUSED)

_BY_PROTOCOL = {"set": [[protocol, goto(f"guest-{protocol}")] for protocol in ("arp", "ip", "ip6")]}
_GUEST = Chain("guest", (Rule.of(verdict_of(meta("protocol"), _BY_PROTOCOL)), _NO_TAG, _NO_TREE))
_GUEST_ARP = Chain(
    "guest-arp",
    (
        _own("arp", 4, header("arp", "saddr ether"), "saddr ip"),
        Rule.of(match(header("arp", "saddr ip"), "0.0.0.0"), ACCEPT),  # a probe; RFC 5227
        Rule.of(_REFUSED),
    ),
)
_GUEST_IP = Chain(
    "guest-ip",
    (
        _NO_DHCP_SERVER,
        _own("ip", 4, header("ether", "saddr"), "saddr"),
        Rule.of(match(header("ip", "saddr"), "0.0.0.0"), ACCEPT),  # a DHCP client
        _behind("ip", 4),
        Rule.of(_REFUSED),
    ),
)
_LINK_LOCAL = {"prefix": {"addr": "fe80::", "len": 10}}
# With IPv6, the link-local address made from a MAC belongs to the node that has that MAC.
_HAS_OWN = match(meta("iifname"), "@ipv6")
_OF_A_MAC = match({"&": [header("ip6", "saddr"), "::ff:ff00:0"]}, "::ff:fe00:0")  # RFC 4291, appendix A
_ANYBODYS = {"set": ["::", _LINK_LOCAL]}
_GUEST_IP6 = Chain(
    "guest-ip6",
    (
        _NO_DHCPV6_SERVER,
        _NO_ROUTER,
        Rule.of(_IPV6, match(header("icmpv6", "type"), ADVERTISEMENT), jump(_ADVERTISEMENT)),
        _own("ip6", 6, header("ether", "saddr"), "saddr"),
        Rule.of(_IPV6, _HAS_OWN, match(header("ip6", "saddr"), _LINK_LOCAL), _OF_A_MAC, _REFUSED),
        Rule.of(match(header("ip6", "saddr"), _ANYBODYS), ACCEPT),
        _behind("ip6", 6),
        Rule.of(_REFUSED),
    ),
)
_STATION = Chain("station", (_NO_DHCP_SERVER, _NO_DHCPV6_SERVER, _NO_ROUTER, _NO_TAG, _NO_TREE))
# Advertisements of routers beyond a NIC are for the host; our nodes get their routes from us.
_FORWARD = Chain(
    "forward",
    (
        Rule.of(
            match(meta("oifname"), f"@{GUARDED}"),
            match(meta("protocol"), "ip6"),
            match(header("icmpv6", "type"), {"set": [ROUTER_ADVERTISEMENT, REDIRECT]}),
            DROP,
        ),
    ),
    "filter",
    "forward",
    0,
    "accept",
)
_REFUSE = Chain("refuse", (Rule.of(match(meta("iifname"), f"@{GUARDED}"), DROP), Rule.of(DROP)))


def with_advertisements(table: Firewall) -> Firewall:
    """The fabric's `bridge` table with the chain that follows from the senders on each port.

    Other tables are unchanged.
    """
    chains = tuple(chain for chain in table.chains if chain.name != _ADVERTISEMENT)
    for held in table.sets:
        if held.name == _SENDERS.format(6):
            chains = (*chains, _advertisement(held.elements))
    return table._replace(chains=chains)


def _advertisement(senders: Iterable[Element]) -> Chain:
    """Refuse neighbour advertisements for others' addresses: the target is believed (RFC 4861, 7.2.5).

    The only rules with data in them, as nft 1.0.6 has no word for the target, and its JSON no type of a named
    set that could hold one. `senders`: (port, MAC, address) each.
    """
    own = sorted({(link, int(IPv6Address(address))) for link, _, address in senders})
    by_port = {"set": [together(link, str(number)) for link, number in own]}
    return Chain(
        _ADVERTISEMENT,
        (
            *([Rule.of(match(together(meta("iifname"), _TARGET), by_port), RETURN)] if own else []),
            Rule.of(_HAS_OWN, match(_TARGET_MIDDLE, 0xFFFE), _REFUSED),
            Rule.of(match(_TARGET_PREFIX, 0xFE80 >> 6), RETURN),
            Rule.of(_REFUSED),
        ),
    )


def _has_link_local(port: GuardedPort) -> bool:
    return any(address.version == 6 and address.is_link_local for address in port.addresses)


def _senders(version: int, ports: Iterable[GuardedPort]) -> Set:
    """(port, MAC, address) of every identity that a port may send as."""
    return Set(_SENDERS.format(version), ("ifname", "ether_addr", f"ipv{version}_addr")).holding(
        (port.link, mac, str(address))
        for port in ports
        if port.guard == "all"
        for mac in port.macs
        for address in port.addresses
        if address.version == version
    )


def _routed(version: int, ports: Iterable[GuardedPort]) -> Set:
    return Set(f"routed{version}", ("ifname", f"ipv{version}_addr"), flags=("interval",)).holding(
        (port.link, prefix_part(prefix))
        for port in ports
        if port.guard == "all" and port.routed
        for prefix in apart(port.routed)
        if prefix.version == version
    )
