"""Interfaces named BASE.N: each is VLAN N on the cable BASE of its node, which several of them share.

On the other side of the cable are its links for the same VLANs: ports of bridges on the host, or interfaces
of the other node. Refusals are in tags.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from netfab.objects.base import HOST, KernelObject, Name, node_space
from netfab.objects.link import Settings, group_of
from netfab.objects.veth import NEW_LINK, End, Veth
from netfab.objects.vlan import Vlan
from netfab.plan.facts import Facts
from netfab.plan.layout import Layout, Nic, Segment
from netfab.plan.mtu import settings_for
from netfab.plan.names import host_link, mac_of
from netfab.plan.node import end_of, links_of
from netfab.topology.grammar import tag_of
from netfab.topology.schema import Network, Topology
from netfab.tuples import NamedTuple


class _Side(NamedTuple):
    """One end of a tagged interface's cable, and its link for the VLAN there."""

    base: Name
    upper: End


def objects(
    topology: Topology, layout: Layout, forwarding: frozenset[str], facts: Facts
) -> Iterator[KernelObject]:
    """The cables, each once, if no other interface has that name; and the links for VLANs on both sides."""
    fabric, group = topology.name, group_of(topology.name)
    pairs = [*_to_host(fabric, layout, forwarding, facts), *_between(fabric, layout, forwarding, facts)]
    whole = {
        Name(node_space(fabric, nic.node), nic.name)
        for nics in layout.nics.values()
        for nic in nics
        if not tag_of(nic.name)
    }
    widest: dict[tuple[Name, Name], int] = {}
    for (near, far), _ in pairs:
        ends = near.base, far.base
        widest[ends] = max(widest.get(ends, 0), near.upper.mtu, far.upper.mtu)
    for ends, mtu in widest.items():
        if whole.isdisjoint(ends):
            a, b = sorted((_base_end(fabric, end, ends, mtu, facts) for end in ends), key=_place)
            yield Veth(a, b, group)
    for sides, vlan in pairs:
        yield from (Vlan(side.upper, side.base, vlan, group) for side in sides)


def _place(end: End) -> tuple[bool, Name]:
    return end.link.space != HOST, end.link


def _base_end(fabric: str, link: Name, ends: Iterable[Name], mtu: int, facts: Facts) -> End:
    """An end without addresses: it carries tagged frames."""
    (far,) = (end for end in ends if end is not link)
    called = ("host", *_called(far)) if link.space == HOST else _called(link)
    return End(link, mac_of(fabric, *called), mtu, settings=settings_for(mtu, facts, Settings()))


def _called(link: Name) -> tuple[str, str]:
    return link.space.partition(".")[2], link.text


def _to_host(
    fabric: str, layout: Layout, forwarding: frozenset[str], facts: Facts
) -> Iterator[tuple[tuple[_Side, _Side], int]]:
    """Those on networks: the bridge's port is the host's link for the VLAN."""
    for nics in (nics for node, nics in layout.nics.items() if layout.has(node)):
        for nic in nics:
            segment, tag = layout.segments[nic.segment], tag_of(nic.name)
            if tag and isinstance(segment.spec, Network):
                mac = mac_of(fabric, "host", nic.node, nic.name)
                port = End(
                    Name(HOST, nic.host_link), mac, nic.mtu, settings=settings_for(nic.mtu, facts, NEW_LINK)
                )
                there = _Side(Name(HOST, _far_end(fabric, nic.node, tag[0], nics)), port)
                yield (_side(fabric, nic, segment, nic.node in forwarding, facts), there), tag[1]


def _far_end(fabric: str, node: str, base: str, nics: Iterable[Nic]) -> str:
    """The host's end of the cable, which may belong to an interface by itself."""
    own = [nic.host_link for nic in nics if nic.name == base]
    return own[0] if own else host_link(fabric, node, base)


def _between(
    fabric: str, layout: Layout, forwarding: frozenset[str], facts: Facts
) -> Iterator[tuple[tuple[_Side, _Side], int]]:
    """Those of links, with both ends tagged."""
    for segment, ends in links_of(layout):
        if len(ends) == 2 and (tag := tag_of(ends[0].name)):
            one, other = (_side(fabric, nic, segment, nic.node in forwarding, facts) for nic in ends)
            yield (one, other) if one.base < other.base else (other, one), tag[1]


def _side(fabric: str, nic: Nic, segment: Segment, router: bool, facts: Facts) -> _Side:
    end = end_of(fabric, nic, segment, router, facts)
    return _Side(Name(end.link.space, nic.name.rpartition(".")[0]), end)
