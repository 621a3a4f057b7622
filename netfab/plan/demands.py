"""Which subnets the file asks for: of every network and link, and for planned loopbacks.

prefixes.py decides what each becomes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_network
from typing import Literal

from netfab.errors import Location
from netfab.plan.seats import LOOPBACKS, Seat, planned_loopbacks, specs
from netfab.plan.subnets import length_for
from netfab.topology.schema import Interface, Link, Network, Prefix, SubnetSpec, Topology
from netfab.tuples import NamedTuple

LINK_LENGTH = {4: 31, 6: 127}  # RFC 3021, RFC 6164


class Demand(NamedTuple):
    """A subnet that the file asks for."""

    segment: str
    holder: str  # network front of this file
    family: Literal[4, 6]
    written: Prefix | None
    implied: Prefix | None  # around written addresses, if no subnet is written: used unless leased otherwise
    size: int | None  # prefix length, if written or given; None: the pool's, or shorter for many
    members: int
    with_host: bool  # the host is on it or routes to it
    at: Location
    hint: str = "leave `subnet` out to have a free one planned"  # if it is taken

    @property
    def key(self) -> str:
        """The key of its lease."""
        return f"{self.segment}/{self.family}"

    @property
    def fixed(self) -> Prefix | None:
        """The prefix, if the file leaves no choice."""
        return self.written or self.implied


def demands_of(
    topology: Topology, seats: Mapping[str, Sequence[Seat]], reach: frozenset[str]
) -> tuple[Demand, ...]:
    """All of them, in file order. `seats` are by segment; `reach`: where the host is or routes to."""
    return (*_of_segments(topology, seats, reach), *_of_loopbacks(topology, seats, reach))


def what(spec: Network | Link) -> str:
    """network or link."""
    return "network" if isinstance(spec, Network) else "link"


def _of_segments(
    topology: Topology, seats: Mapping[str, Sequence[Seat]], reach: frozenset[str]
) -> Iterator[Demand]:
    for name, spec in specs(topology):
        for subnet in spec.subnets:
            if isinstance(subnet, SubnetSpec):
                yield _planned(topology, name, spec, subnet, seats[name], name in reach)
            else:
                yield Demand(
                    name,
                    f"{what(spec)} {name} of this file",
                    4 if subnet.version == 4 else 6,
                    subnet,
                    None,
                    None,
                    len(seats[name]) + 1,
                    name in reach,
                    spec.at.of("subnet"),
                )


def _planned(
    topology: Topology,
    name: str,
    spec: Network | Link,
    subnet: SubnetSpec,
    seats: Sequence[Seat],
    with_host: bool,
) -> Demand:
    """A subnet that isn't written, although addresses in it may be."""
    size = subnet.size
    if size is None and (subnet.family == 6 or isinstance(spec, Link)):
        size = LINK_LENGTH[subnet.family] if isinstance(spec, Link) else 64
    demand = Demand(
        name,
        f"{what(spec)} {name} of this file",
        subnet.family,
        None,
        None,
        size,
        len(seats) + 1,
        with_host,
        spec.at.of("subnet"),
    )
    for seat in seats:
        for address in seat.port.addresses:
            if address.version == subnet.family:
                around = address.network if not seat.port.plain else _around(topology, demand, address)
                return demand._replace(
                    implied=around, at=seat.at.of("ip"), hint="leave `ip` out to have a free subnet planned"
                )
    return demand


def _around(topology: Topology, demand: Demand, address: Interface) -> Prefix:
    """The block around an address, of the size of a planned one."""
    sizes = [pool.size for pool in topology.pools if address.ip in pool.prefix]
    length = demand.size or length_for(demand.members, min(sizes, default=24))
    return ip_network((address.ip, length), strict=False)


def _of_loopbacks(
    topology: Topology, seats: Mapping[str, Sequence[Seat]], reach: frozenset[str]
) -> Iterator[Demand]:
    """One subnet of each family, for all planned loopbacks."""
    nodes_of = planned_loopbacks(topology, seats)
    on_reach = {seat.node for name in reach for seat in seats[name]}
    for family, nodes in nodes_of.items():
        yield Demand(
            LOOPBACKS,
            "the loopbacks of this file",
            family,
            None,
            None,
            64 if family == 6 else None,
            len(nodes),
            not on_reach.isdisjoint(nodes),
            topology.nodes[nodes[0]].at.of("loopback"),
        )
