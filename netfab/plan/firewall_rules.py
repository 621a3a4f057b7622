"""The rules of the fabric's `inet` table, with all data left out: that is in the sets of firewall.py.

A packet that is forwarded meets `same`, `leaving` and `entering`, by the interfaces that it comes from and
goes to; what is neither ours nor from an interface that we opened is let through untouched.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network

from netfab.objects.expressions import (
    ACCEPT,
    COUNT,
    DROP,
    MASQUERADE,
    RETURN,
    UNTRACKED,
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
    raw_header,
    to_this_host,
    together,
    verdict_of,
)
from netfab.objects.firewall import Chain, Rule
from netfab.objects.link import group_of, scratch_of

RAW, DSTNAT, FILTER, SRCNAT = -300, -100, 0, 100  # linux/netfilter_ipv4.h, enum nf_ip_hook_priorities
_VNI = 96, 24  # offset and size in bits: after eight bytes of UDP and four of VXLAN; RFC 7348, section 5
LOOPBACK = IPv4Network("127.0.0.0/8")

_EVERY_FABRIC = 0xFF000000  # the bits of a link's group that all fabrics share
_PROTOCOLS = {4: "ip", 6: "ip6"}
_IN, _OUT = meta("iifname"), meta("oifname")


def _by_a_fabric(key: str, op: str = "==") -> Expression:
    """iifgroup, oifgroup: whether any fabric made that link."""
    return match(masked(meta(key), _EVERY_FABRIC), group_of("") & _EVERY_FABRIC, op)


def of_fabric(key: str, group: int) -> Expression:
    """iifgroup, oifgroup: whether the fabric of that group made that link; also while it is being deleted."""
    return match(masked(meta(key), ~scratch_of(0) & 0xFFFFFFFF), group)


def forward(group: int, opened: Iterable[tuple[int, bool]]) -> Chain:
    """The chain for what the host forwards.

    `opened`: (family, whether all interfaces) for which we enabled forwarding, by interface or globally:
    drops what would not be forwarded otherwise.
    """
    rules = [
        Rule.of(verdict_of(together(_IN, _OUT), "@same")),
        Rule.of(verdict_of(_IN, "@leaving")),
        Rule.of(verdict_of(_OUT, "@entering")),
        # A bridge of ours that no set names: not yet, or no longer.
        *(Rule.of(of_fabric(key, group), COUNT, DROP) for key in ("iifgroup", "oifgroup")),
    ]
    for family, everywhere in opened:
        new = ct_state("invalid", "new", "untracked")
        foreign = _by_a_fabric("oifgroup", "!=")
        coming = _by_a_fabric("iifgroup", "!=") if everywhere else match(_IN, f"@uplinks{family}")
        rules.append(Rule.of(match(meta("nfproto"), f"ipv{family}"), coming, foreign, new, COUNT, DROP))
    return Chain("forward", tuple(rules), "filter", "forward", FILTER, "accept")


def strangers(ports: Iterable[int], vnis: Iterable[int], encrypted: Sequence[int], reqid: int) -> Chain:
    """Drop what comes to our tunnels from others than their peers. Others' tunnels may have the same port.

    IPv4 is reassembled by then; of IPv6 the first fragment may end before the VNI, and a peer's are never in
    fragments (RFC 7348, section 4.3).

    For VNIs that are `encrypted` also what comes from peers, but not through an ESP state of ours, with that
    reqid.
    """
    here = match(meta("l4proto"), 17), match(header("udp", "dport"), {"set": list(ports)})
    ours = match(raw_header(*_VNI), {"set": list(vnis)})
    fragment = match({"exthdr": {"name": "frag"}}, True)
    secret = match(raw_header(*_VNI), {"set": list(encrypted)})
    clear = match({"ipsec": {"key": "reqid", "dir": "in", "spnum": 0}}, reqid, "!=")
    missing = match(meta("ipsec"), False)
    rules = (
        *(Rule.of(*here, secret, check, COUNT, DROP) for check in ((missing, clear) if encrypted else ())),
        Rule.of(match(header("ip", "saddr"), "@peers4"), ACCEPT),
        Rule.of(match(header("ip6", "saddr"), "@peers6"), ACCEPT),
        Rule.of(*here, ours, COUNT, DROP),
        Rule.of(fragment, *here, COUNT, DROP),
    )
    return Chain("strangers", rules, "filter", "input", FILTER, "accept")


def in_the_clear(ports: Iterable[int], encrypted: Iterable[int]) -> Chain:
    """Drop what our tunnels to these VNIs would send without ESP: to hosts for which there is no policy."""
    tunnelled = match(meta("l4proto"), 17), match(header("udp", "dport"), {"set": list(ports)})
    secret = match(raw_header(*_VNI), {"set": list(encrypted)})
    rule = Rule.of(*tunnelled, secret, match({"rt": {"key": "ipsec"}}, False), COUNT, DROP)
    return Chain("clear", (rule,), "filter", "output", FILTER, "accept")


_LEAVE_RULES = (
    Rule.of(match(_OUT, "@open"), ct_status("dnat"), ACCEPT),  # to published ports, and answers
    Rule.of(match(_OUT, "@inside"), COUNT, DROP),
)


_LEAVE = Chain("leave", _LEAVE_RULES)


def _member(link: Expression, version: int, field: str, op: str = "==") -> Expression:
    """Whether that address is in the bridge's network, or only behind its NIC."""
    return match(together(link, header(_PROTOCOLS[version], field)), f"@members{version}", op)


def uplinked(group: int, tracked: bool) -> tuple[Chain, ...]:
    """Packets forwarded through a bridge with a NIC of the host as a port, of its members and of others.

    The outside is treated as behind a NIC that is no port; `tracked`: also if it is we who enabled
    forwarding.
    """
    new = ct_state("invalid", "new", "untracked")
    opened = match(_IN, "@passing", "!="), _by_a_fabric("oifgroup", "!="), new, COUNT, DROP
    closed = (Rule.of(*opened),) if tracked else ()
    from_member, to_member = verdict_of(_IN, "@from-member"), verdict_of(_OUT, "@to-member")
    return (
        Chain(
            "from-outside",
            (
                *(Rule.of(_member(_IN, version, "saddr"), from_member) for version in (4, 6)),
                Rule.of(verdict_of(_OUT, "@entering")),
                Rule.of(of_fabric("oifgroup", group), COUNT, DROP),
                *closed,
            ),
        ),
        Chain("to-outside", tuple(Rule.of(_member(_OUT, version, "daddr"), to_member) for version in (4, 6))),
        Chain(
            "beside",
            (
                # With bridge-nf-call-iptables, what the bridge itself forwards.
                Rule.of(match(together(_IN, header("ether", "daddr")), "@stations", "!="), ACCEPT),
                *(
                    Rule.of(
                        _member(_IN, version, "saddr"),
                        _member(_OUT, version, "daddr"),
                        verdict_of(_IN, "@apart"),
                    )
                    for version in (4, 6)
                ),
                *(Rule.of(_member(_IN, version, "saddr"), from_member) for version in (4, 6)),
                *(Rule.of(_member(_OUT, version, "daddr"), to_member) for version in (4, 6)),
                *closed,
            ),
        ),
    )


def _to_way_out(version: int) -> tuple[Expression, Expression]:
    """Continue only if the packet leaves by a bridge with a NIC, and not to that bridge's network."""
    return match(_OUT, "@ways-out"), _member(_OUT, version, "daddr", "!=")


_ENTER = Chain(
    "enter",
    (
        Rule.of(ct_status("dnat"), ACCEPT),
        Rule.of(ct_state("established", "related"), ACCEPT),
        Rule.of(COUNT, DROP),
    ),
)
# Open to everything outside; other fabrics are not.
_ENTER_ROUTED = Chain("enter-routed", (Rule.of(_by_a_fabric("iifgroup"), goto("enter")),))


def _hairpin(version: int) -> Rule:
    # Otherwise the node would answer its neighbour directly, which expects an answer from the host's address.
    source = together(_OUT, header(_PROTOCOLS[version], "saddr"))
    return Rule.of(ct_status("dnat"), match(source, f"@hairpin{version}"), MASQUERADE)


def _masquerade(version: int) -> Rule:
    # From a bridge of ours: with bridge-nf-call-iptables, what crosses a foreign bridge comes here, too.
    source = match(header(_PROTOCOLS[version], "saddr"), f"@masqueraded{version}")
    return Rule.of(match(_IN, "@inside"), match(_OUT, "@inside", "!="), source, MASQUERADE)


def _masquerade_by_bridge(version: int) -> Rule:
    source = match(header(_PROTOCOLS[version], "saddr"), f"@masqueraded{version}")
    return Rule.of(match(_IN, "@inside"), *_to_way_out(version), source, MASQUERADE)


_TRANSLATED = (_hairpin(4), _hairpin(6), _masquerade(4), _masquerade(6))
_POSTROUTING = Chain("postrouting", _TRANSLATED, "nat", "postrouting", SRCNAT, "accept")


def _no_loopback(field: str) -> Rule:
    """With route_localnet nothing else stops this, before the kernel routes what DNAT changed."""
    loopback = {"prefix": {"addr": str(LOOPBACK.network_address), "len": LOOPBACK.prefixlen}}
    return Rule.of(match(_IN, "lo", "!="), match(header("ip", field), loopback), COUNT, DROP)


_RAW = Chain("raw", (_no_loopback("daddr"), _no_loopback("saddr")), "filter", "prerouting", RAW, "accept")


def _dnat(version: int, at: bool) -> Rule:
    """DNAT by the maps by port; with `at`, by those by address and port."""
    protocol = _PROTOCOLS[version]
    name = f"published{version}{'-at' if at else ''}"
    address = (header(protocol, "daddr"),) if at else ()
    key = together(*address, meta("l4proto"), header("th", "dport"))
    # TCP, UDP and SCTP; as numbers: their names are in /etc/protocols, which may be missing.
    with_ports = {"set": [6, 17, 132]}
    return Rule.of(
        match(meta("nfproto"), f"ipv{version}"),
        match(meta("l4proto"), with_ports),
        dnat(protocol, looked_up(key, f"{name}-address"), looked_up(key, f"{name}-port")),
    )


_PUBLISH = Chain(
    "publish",
    (
        # IPv6 has no route_localnet: refuse connections to ::1 at once.
        Rule.of(match(header("ip6", "daddr"), "::1"), RETURN),
        _dnat(4, at=True),
        _dnat(4, at=False),
        _dnat(6, at=True),
        _dnat(6, at=False),
    ),
)
_TO_PUBLISH = (Rule.of(to_this_host(), jump("publish")),)

# With bridge-nf-call-iptables, frames between two nodes come here, too. NAT is decided at a connection's
# first packet: one that crosses a bridge to a router, and comes from there again on its way out, must not
# count the first time.
_BRIDGED = Chain(
    "bridged",
    (
        Rule.of(
            match(_IN, "@inside"),
            match(meta("pkttype"), "host"),
            match(together(_IN, header("ether", "daddr")), "@gateways", "!="),
            UNTRACKED,
        ),
    ),
    "filter",
    "prerouting",
    RAW,
    "accept",
)


def ways_out(by_bridges: bool) -> tuple[Chain, ...]:
    """The chains for ways out; `by_bridges`: some bridge of ours is one."""
    leave, translated = _LEAVE, _POSTROUTING
    if by_bridges:
        published, inside = _LEAVE_RULES
        out = [Rule.of(*_to_way_out(version), ACCEPT) for version in (4, 6)]
        leave = leave._replace(rules=(published, *out, inside))
        translated = translated._replace(rules=(*_TRANSLATED, *map(_masquerade_by_bridge, (4, 6))))
    return _BRIDGED, leave, _ENTER, _ENTER_ROUTED, translated


PUBLISHING = (
    _RAW,
    _PUBLISH,
    Chain("prerouting", _TO_PUBLISH, "nat", "prerouting", DSTNAT, "accept"),
    Chain("output", _TO_PUBLISH, "nat", "output", DSTNAT, "accept"),
)
