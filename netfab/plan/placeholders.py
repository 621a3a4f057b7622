"""`{ip:X}` and its kin in `files`, `env`, `command` and `exec`: what the plan chose, where it is asked for.

X is one of the node's interfaces, a network, or another node. Everything else in braces is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from netfab.plan.addresses import Assigned
from netfab.plan.hosts import namespace_holder, resolved
from netfab.plan.layout import Layout, Nic
from netfab.topology.schema import Address, Node, Topology

_PATTERN = re.compile(r"\{(?:(node|n)|(ip|ip6|net|peer):([A-Za-z0-9_.-]+))\}")


def filled(text: str, topology: Topology, layout: Layout, node: Node) -> str:
    """The text with every placeholder replaced; one without a value here (no IPv6, say) becomes empty."""

    def answer(found: re.Match[str]) -> str:
        plain, kind, what = found.groups()
        if plain:
            return node.name if plain == "node" else str(node.n)
        return _answer(kind, what, topology, layout, node)

    return _PATTERN.sub(answer, text)


def _answer(kind: str, what: str, topology: Topology, layout: Layout, node: Node) -> str:
    node = namespace_holder(topology, node)
    own = list(_interfaces(what, layout.nics[node.name]))
    if kind == "net":
        prefixes = [i.network for nic in own for i in nic.addresses] or [
            prefix for prefix in (layout.segments[what].prefixes if what in layout.segments else ())
        ]
        return str(prefixes[0]) if prefixes else ""
    if kind == "peer":
        return _first(_peers(what, layout, node, own), 4) or _first(_peers(what, layout, node, own), 6)
    family = 6 if kind == "ip6" else 4
    if own:
        return _first((i.ip for nic in own for i in nic.addresses), family)
    named = topology.nodes.get(what) or next((o for o in topology.nodes.values() if what == o.base), None)
    if named is not None:
        segments = tuple(nic.segment for nic in layout.nics[node.name])
        return _first(resolved(topology, layout, named, segments), family)
    gateways: Iterable[Assigned] = layout.segments[what].host_addresses if what in layout.segments else ()
    return _first((interface.ip for interface in gateways), family)


def _interfaces(what: str, nics: Iterable[Nic]) -> Iterator[Nic]:
    for nic in nics:
        if what in (nic.name, nic.segment):
            yield nic


def _peers(what: str, layout: Layout, node: Node, own: list[Nic]) -> Iterator[Address]:
    """Addresses of the others on that interface's segment, or of that node on a shared segment."""
    segments = {nic.segment for nic in own or layout.nics[node.name]}
    for name, nics in layout.nics.items():
        if name != node.name and (own or name == what):
            yield from (i.ip for nic in nics if nic.segment in segments for i in nic.addresses)


def _first(addresses: Iterable[Address], family: int) -> str:
    return next((str(address) for address in addresses if address.version == family), "")
