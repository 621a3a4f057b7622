"""What a partial plan must not take, because it is kept as it was applied.

For a part of a plan that is what all other nodes have: the file may have dropped or changed them, but the
host has them as they were. For a plan that some hosts do not hear of, it is what these hosts may still have.
Pure, from what was applied and is leased.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from ipaddress import ip_address, ip_network
from typing import Any

from netfab.errors import NetfabError, PlanError
from netfab.plan.facts import Facts
from netfab.plan.layout import Layout
from netfab.plan.leases import Lease, Published
from netfab.plan.overlaps import Overlaps
from netfab.plan.planner import Plan
from netfab.plan.protection import publish_key
from netfab.plan.seats import LOOPBACKS
from netfab.plan.subnets import Reservation
from netfab.topology.addresses import is_within
from netfab.topology.schema import Address, Network, NodeGateway, Prefix, Topology
from netfab.tuples import NamedTuple

Summary = Mapping[str, Any]
NOTHING: Summary = {"networks": {}, "nodes": {}}
_KEPT = ", which --only leaves as it is"


class Keeper(NamedTuple):
    """The holder of what the file no longer has, in words that can follow what is kept."""

    what: str
    lease: str  # how long a lease lasts


_OTHERS = Keeper(_KEPT, "ends with an apply of the whole file")


class _Kept(NamedTuple):
    """An address of a node outside the part, or of none (""), and its holder in words."""

    node: str
    segment: str
    address: Address
    holder: str


def beside(
    facts: Facts,
    layout: Layout,
    leases: Collection[Lease],
    nodes: Set[str],
    there: Summary,
    keeper: Keeper = _OTHERS,
) -> Facts:
    """The facts for a plan of these nodes that leaves to all others what is theirs now.

    `layout` is what was chosen without that, `there` the summary of what is applied. The same facts if
    nothing conflicts.
    """
    kept = [*_addresses(nodes, there), *_leased(layout, leases, keeper)]
    held = {bridge: dict(addresses) for bridge, addresses in facts.held.items()}
    for bridge, one in _in_the_way(layout, nodes, kept):
        held.setdefault(bridge, {}).setdefault(one.address, one.holder)
    vnis = [
        (int(lease.value), f"network {lease.key}{keeper.what}")
        for lease in sorted(leases)
        if lease.kind == "vni" and lease not in layout.claims
    ]
    subnets = _subnets(layout, leases, nodes, _prefixes(layout, leases, kept, there))
    return facts._replace(held=held, vnis=(*facts.vnis, *vnis), reservations=(*facts.reservations, *subnets))


def beside_absent(
    facts: Facts, layout: Layout, leases: Collection[Lease], nodes: Set[str], absent: Collection[str]
) -> Facts:
    """The facts for a plan that these hosts do not receive: their leases stay, as they may still run."""
    hosts, are = ", ".join(absent), "is" if len(absent) == 1 else "are"
    keeper = Keeper(
        f", which {hosts} may still have", f"stays while {hosts} {are} neither reached nor forgotten"
    )
    return beside(facts, layout, leases, nodes, NOTHING, keeper)


def taken(topology: Topology, part: Plan, there: Summary) -> Iterator[NetfabError]:
    """What the part would take by name: bridges and published ports that others keep."""
    nodes, segments = part.nodes or frozenset(), _segments(part.layout, part.nodes or ())
    bridges = {found["bridge"]: name for name, found in there["networks"].items() if not found["external"]}
    for name in sorted(segments):
        segment = part.layout.segments[name]
        holder = bridges.get(segment.bridge, name)
        if isinstance(segment.spec, Network) and not segment.spec.external and holder not in segments:
            message = f"the bridge {segment.bridge} is network {holder}'s{_KEPT}"
            yield PlanError(message, at=segment.spec.at.of("bridge"))
    published = {
        _key(text): name
        for name, node in there["nodes"].items()
        if name not in nodes and node.get("host") == part.layout.runs_on.get(name, node.get("host"))
        for text in node["published"]
    }
    held = Published(published)
    for publish in part.published:
        if key := held.beside(publish_key(publish)):
            yield PlanError(f"port {key} is published by node {published[key]}{_KEPT}", at=publish.at)


def _segments(layout: Layout, nodes: Collection[str]) -> set[str]:
    return {nic.segment for node in nodes for nic in layout.nics.get(node, ())}


def _addresses(nodes: Set[str], there: Summary) -> Iterator[_Kept]:
    for name, node in there["nodes"].items():
        for segment, texts in node["addresses"].items() if name not in nodes else ():
            for text in texts:
                yield _Kept(name, segment, ip_address(text), f"node {name}{_KEPT}")


def _leased(layout: Layout, leases: Collection[Lease], keeper: Keeper) -> Iterator[_Kept]:
    """Addresses leased to what the file no longer has, for when no lease is released."""
    wanted = {lease.key for lease in layout.claims if lease.kind == "address"}
    for lease in sorted(leases):
        if lease.kind == "address" and lease.key not in wanted:
            segment, _, seat = lease.key.rpartition("/")[0].rpartition("/")
            holder = f"the lease of {seat.partition('#')[0]}, which {keeper.lease}"
            yield _Kept("", segment, ip_address(lease.value), holder)


def _in_the_way(layout: Layout, nodes: Set[str], kept: Iterable[_Kept]) -> Iterator[tuple[str, _Kept]]:
    """What others have in place of the nodes, unless the file gives it to one outside the part, too."""
    segments = {*_segments(layout, nodes), LOOPBACKS}
    promised: set[tuple[str, Address]] = set()
    still: set[tuple[str, str, Address]] = set()
    for nic in (nic for node, nics in layout.nics.items() if node not in nodes for nic in nics):
        still.update((nic.node, nic.segment, interface.ip) for interface in nic.addresses)
        promised.update((nic.segment, written.ip) for written in nic.port.addresses)
        spec = layout.segments[nic.segment].spec
        if isinstance(spec, Network) and spec.gateway == NodeGateway(nic.node):
            promised.update((nic.segment, address) for address in layout.segments[nic.segment].gateways)
    for one in kept:
        if one.segment in segments and one[:3] not in still and (one.segment, one.address) not in promised:
            yield (LOOPBACKS if one.segment == LOOPBACKS else layout.segments[one.segment].bridge), one


def _prefixes(
    layout: Layout, leases: Collection[Lease], kept: Iterable[_Kept], there: Summary
) -> Iterator[tuple[Prefix, str, str]]:
    """Prefixes in use, and leased to segments no longer in the file; with segment and holder."""
    for one in kept:
        yield ip_network(one.address), one.segment, one.holder
    for name, network in there["networks"].items():
        for text in () if network["external"] else network["subnets"]:
            yield ip_network(text), name, f"network {name}{_KEPT}"
    for lease in sorted(leases):
        if lease.kind == "subnet" and lease.key not in layout.prefixes.chosen:
            yield ip_network(lease.value), "", f"leased for {lease.key.rpartition('/')[0]}"


def _subnets(
    layout: Layout, leases: Collection[Lease], nodes: Set[str], found: Iterable[tuple[Prefix, str, str]]
) -> Iterator[Reservation]:
    """Those that the plan would move, unless the file writes them for what is not in the part, either."""
    segments, demands = _segments(layout, nodes), layout.prefixes.demands
    written = Overlaps(
        Reservation(demand.fixed, demand.segment) for demand in demands if demand.fixed is not None
    )
    leased = {(lease.key, lease.value) for lease in leases if lease.kind in ("subnet", "shared")}
    for prefix, segment, holder in found:
        own = [(d.key, layout.prefixes.chosen[d.key]) for d in demands if d.segment == segment]
        stays = any((key, str(chosen)) in leased and is_within(prefix, chosen) for key, chosen in own)
        promised = (other.holder == segment or other.holder not in segments for other in written.of(prefix))
        if not stays and not any(promised):
            yield Reservation(prefix, holder)


def _key(published: str) -> str:
    """Like publish_key, from the summary's notation: `127.0.0.1:8080:80/tcp`."""
    ports, _, protocol = published.rpartition("/")
    address, _, port = ports.rpartition(":")[0].rpartition(":")
    return f"{protocol}/{address.strip('[]') or '*'}/{port}"
