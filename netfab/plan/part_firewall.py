"""Merging two nft tables: the planned one for some nodes, the existing one for all others.

All nodes of a fabric share its tables; an element belongs to a node by what it names: the host's end of a
cable, a bridge, an address, a prefix. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from ipaddress import IPv4Network, IPv6Network, ip_network

from netfab.objects.firewall import Chain, Element, Firewall
from netfab.objects.firewall import Set as NftSet
from netfab.plan.guard import with_advertisements
from netfab.topology.addresses import is_within


def shared_table(planned: Firewall, there: Firewall | None, about: Set[str]) -> Firewall:
    """What concerns these identifiers from `planned`, everything else from `there`.

    Rules belong to no node: those of both are kept, for the data is in sets and maps, or they follow from
    these.
    """
    if there is None:
        there = planned._replace(chains=(), sets=())
    published = {*_published(planned, about), *_published(there, about)}
    found = {held.name: held for held in there.sets}
    pairs = [(held, found.pop(held.name, held._replace(elements=()))) for held in planned.sets]
    pairs += [(held._replace(elements=()), held) for held in found.values()]
    sets = tuple(_shared_set(ours, others, about, published) for ours, others in pairs)
    shared = planned._replace(chains=tuple(_chains(planned.chains, there.chains)), sets=sets)
    return with_advertisements(shared)


def _published(table: Firewall, about: Set[str]) -> Iterator[tuple[str, Element]]:
    """The keys of the nodes in maps of published ports; a map of addresses has a matching one of ports."""
    for held in table.sets:
        for element in held.elements if held.data else ():
            if not about.isdisjoint(element):
                yield _twins(held), element[: len(held.key)]


def _twins(held: NftSet) -> str:
    """What the names of two maps with the same keys have in common."""
    return held.name.rpartition("-")[0]


def _chains(planned: Iterable[Chain], there: Iterable[Chain]) -> Iterator[Chain]:
    others = {chain.name: chain for chain in there}
    for chain in planned:
        other = others.pop(chain.name, None)
        more = [rule for rule in other.rules if rule not in chain.rules] if other else []
        yield chain._replace(rules=(*chain.rules, *more))
    yield from others.values()


def _shared_set(
    planned: NftSet, there: NftSet, about: Set[str], published: Set[tuple[str, Element]]
) -> NftSet:
    prefixes = [ip_network(word) for word in about if "/" in word]

    def is_ours(element: Element) -> bool:
        if planned.key[0] == "ifname":  # what a port may send as, and the like, belongs to that port
            return element[0] in about
        if planned.data:
            return (_twins(planned), element[: len(planned.key)]) in published
        return not about.isdisjoint(element)

    def holds_ours(element: Element) -> bool:
        around = _prefix(element) if "interval" in planned.flags and len(element) == 1 else None
        return around is not None and any(is_within(prefix, around) for prefix in prefixes)

    kept = [element for element in there.elements if not is_ours(element)]
    ours = [element for element in planned.elements if is_ours(element) or holds_ours(element)]
    return planned.holding(_apart([*kept, *ours]) if "interval" in planned.flags else [*kept, *ours])


def _apart(elements: Iterable[Element]) -> Iterator[Element]:
    """Without prefixes inside others, which the kernel refuses in a set."""
    outer: tuple[Element, IPv4Network | IPv6Network] | None = None
    for element in sorted(set(elements), key=_outermost_first):
        prefix = _prefix(element)
        if prefix is None:
            yield element
        elif outer is None or outer[0][:-1] != element[:-1] or not is_within(prefix, outer[1]):
            outer = element, prefix
            yield element


def _outermost_first(element: Element) -> tuple[Element, int, int, int]:
    prefix = _prefix(element)
    if prefix is None:
        return element[:-1], 0, 0, 0
    return element[:-1], prefix.version, int(prefix.network_address), prefix.prefixlen


def _prefix(element: Element) -> IPv4Network | IPv6Network | None:
    """The prefix at the end of an element, if there is one."""
    try:
        return ip_network(element[-1])
    except ValueError:
        return None
