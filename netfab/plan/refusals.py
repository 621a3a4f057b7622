"""What can't be planned, whatever is leased or free; and what can, but is probably a mistake.

Contradictions within the file are in topology/rules.py; conflicts over what is taken in prefixes.py and
assign.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from netfab.errors import NetfabError, PlanError, Unsupported, raise_all
from netfab.plan.facts import Facts, switched
from netfab.plan.mtu import IPV6_MTU, port_mtu, segment_mtu
from netfab.plan.seats import Seat, argv_of, routers, specs
from netfab.plan.sysctls import of_interfaces
from netfab.plan.tags import conflicts
from netfab.topology.schema import (
    ExternalGateway,
    HostGateway,
    Interface,
    Link,
    Network,
    NodeGateway,
    Planned,
    SubnetSpec,
    Topology,
)

BRIDGE_PORTS = 1023  # BR_MAX_PORTS less one; the next fails with EXFULL

Seats = Mapping[str, Sequence[Seat]]  # by segment


def refuse_reserved(topology: Topology) -> None:
    """Report every valid key without effect yet: none is ignored silently."""
    raise_all(
        Unsupported(f"`{reserved.key}` is not supported yet", at=reserved.at, hint="leave it out for now")
        for reserved in topology.reserved
    )


def refuse_before(topology: Topology, seats: Seats, facts: Facts) -> None:
    """Raises PlanError or Unsupported, with all errors at once."""
    raise_all(
        chain(
            _missing_bridges(topology, facts),
            _bridges_of_others(topology, facts),
            _new_open_vswitch(topology, facts),
            on_open_vswitch(topology, seats, facts),
            _without_ipv6(topology, seats, facts),
            _small_mtus(topology, seats, facts),
            on_every_host(topology, seats),
        )
    )


def on_every_host(topology: Topology, seats: Seats) -> Iterator[PlanError]:
    """What no host could do."""
    yield from _crowds(topology, seats)
    yield from _public_addresses(topology, seats)
    yield from _ways_out_that_are_none(topology, seats)
    yield from _masqueraded_gateways(topology, seats)
    yield from of_interfaces(topology, seats)
    yield from conflicts(topology, seats)


# Keys about a node's program; without a program they have no effect.
_OF_PROGRAMS = (
    "cap_add", "cap_drop", "cpus", "env", "files", "init", "memory",
    "mounts", "pids", "read_only", "ready", "restart", "user", "workdir",
)  # fmt: skip


def without_program(topology: Topology) -> Iterator[str]:
    """A warning for each node with keys about a program but without a `command`."""
    for node in topology.nodes.values():
        if not argv_of(node):
            idle = [
                key
                for key in _OF_PROGRAMS
                if key in node.at.keys and (key, node.restart) != ("restart", "no")
            ]
            if idle:
                keys = ", ".join(f"`{key}`" for key in idle)
                yield f"{node.name} has no command, so {keys} {'have' if idle[1:] else 'has'} no effect"


def idle_between_links(topology: Topology) -> Iterator[str]:
    """Warns of nodes that have several links and forward nothing."""
    links = Counter(end.node for link in topology.links for end in link.ends if not end.is_outside)
    forwarding = routers(topology)
    for node, number in links.items():
        if number > 1 and node not in forwarding:
            yield f"{node} has {number} links and passes nothing on; `forward: true` makes it a router"


def _crowds(topology: Topology, seats: Seats) -> Iterator[PlanError]:
    """Networks with more interfaces than a bridge has ports."""
    for name, network in topology.networks.items():
        if len(seats[name]) > BRIDGE_PORTS:
            yield PlanError(
                f"{len(seats[name])} interfaces on network {name}, and a bridge has {BRIDGE_PORTS} ports",
                at=network.at.own,
                hint="split it into several networks with a router between them",
            )


def _public_addresses(topology: Topology, seats: Seats) -> Iterator[PlanError]:
    """A public address around which a subnet would be planned that is not written.

    Its owner would become unreachable. What IANA calls globally reachable (RFC 6890).
    """
    for name, spec in specs(topology):
        planned = {subnet.family for subnet in spec.subnets if isinstance(subnet, SubnetSpec)}
        if isinstance(spec, Network) and spec.external:
            continue
        for seat in seats[name]:
            for address in seat.port.addresses if seat.port.plain else ():
                if address.version in planned and address.ip.is_global and not _in_pools(topology, address):
                    yield PlanError(
                        f"{address.ip} is a public address, and no `subnet` says that {name} has it",
                        at=seat.at.of("ip"),
                        hint="leave `ip` out to have one planned, or take one of 10.0.0.0/8 or fd00::/8",
                    )


def _in_pools(topology: Topology, address: Interface) -> bool:
    return any(address.ip in pool.prefix for pool in topology.pools)


def _missing_bridges(topology: Topology, facts: Facts) -> Iterator[PlanError]:
    """`external: true` without such a bridge."""
    for network in topology.networks.values():
        if network.external is True and network.bridge not in facts.links:
            yield PlanError(
                f"this host has no {network.bridge}, and `external: true` says that somebody made it",
                at=network.at.of("bridge"),
                hint="leave `external` out to have the bridge made",
            )


def _bridges_of_others(topology: Topology, facts: Facts) -> Iterator[PlanError]:
    """Written names of other fabrics' bridges, even of bridges that do not exist now."""
    for network in topology.networks.values():
        holder = facts.bridges.get(str(network.bridge))
        if holder is not None and not network.external:
            yield PlanError(
                f"{holder} has the bridge {network.bridge}",
                at=network.at.of("bridge"),
                hint="choose another name",
            )


def _new_open_vswitch(topology: Topology, facts: Facts) -> Iterator[Unsupported]:
    """Open vSwitch bridges that would forward nothing, or no TCP."""
    for network in topology.networks.values():
        if not network.openvswitch or network.external:
            continue
        if facts.openvswitch is None:
            yield Unsupported(f"{network.bridge}: Open vSwitch does not run here", at=network.at.own)
        elif not facts.openvswitch.answers:
            yield Unsupported(
                f"{network.bridge}: Open vSwitch runs here, and gives no answer", at=network.at.own
            )
        elif not facts.openvswitch.bridges.get(str(network.bridge), facts.openvswitch.datapath):
            yield Unsupported(
                f"{network.bridge}: this kernel lacks the module openvswitch, and by itself Open vSwitch "
                "passes TCP between guests only with userspace-tso-enable",
                at=network.at.own,
                hint="`modprobe openvswitch`; or `ovs-vsctl set Open_vSwitch . "
                "other_config:userspace-tso-enable=true`, and start it again",
            )


def on_open_vswitch(topology: Topology, seats: Seats, facts: Facts) -> Iterator[PlanError]:
    """Options that can't be enforced on a bridge whose frames nft rules do not see."""
    for name, network in topology.networks.items():
        if not (network.guarded and switched(network, facts)):
            continue
        what = f"{network.bridge} is a bridge of Open vSwitch"
        if network.isolated:
            at = network.at.of("isolated")
            yield PlanError(f"{what}, where netfab keeps no ports apart", at=at)
        if any(seat.port.spoof == "deny" for seat in seats[name]):
            yield PlanError(
                f"{what}, where netfab can't keep a port to its own addresses",
                at=network.at.of("bridge"),
                hint="`spoof: allow` on the network says that it need not",
            )


def _without_ipv6(topology: Topology, seats: Seats, facts: Facts) -> Iterator[NetfabError]:
    """IPv6 on a host whose kernel lacks it."""
    if facts.ipv6:
        return
    for name, spec in specs(topology):
        if any(subnet.version == 6 for subnet in spec.subnets):
            at = spec.at.of("ipv6" if "ipv6" in spec.at.keys else "subnet")
            yield Unsupported(f"{name} has an IPv6 subnet, and this host has no IPv6", at=at)
        else:
            for seat in filter(_has_ipv6, seats[name]):
                yield Unsupported(
                    f"{seat.node} has an IPv6 address on {name}, and this host has no IPv6",
                    at=seat.at.of("ip"),
                )
    for node in topology.nodes.values():
        if not isinstance(node.loopback, Planned) and any(a.version == 6 for a in node.loopback):
            yield Unsupported(
                f"{node.name} has an IPv6 loopback, and this host has no IPv6", at=node.at.of("loopback")
            )


def _small_mtus(topology: Topology, seats: Seats, facts: Facts) -> Iterator[PlanError]:
    """Ports whose MTU, written or taken from a NIC or a bridge, is too small for their IPv6."""
    for name, spec in specs(topology):
        subnet = any(subnet.version == 6 for subnet in spec.subnets)
        for seat in seats[name] if subnet else filter(_has_ipv6, seats[name]):
            mtu = port_mtu(seat.port, segment_mtu(spec, facts))
            if mtu < IPV6_MTU:
                yield PlanError(
                    f"IPv6 needs an MTU of at least {IPV6_MTU} (RFC 8200, section 5), "
                    f"not {mtu}, which {seat.node} has on {name}",
                    at=seat.at.of("mtu"),
                )


def _has_ipv6(seat: Seat) -> bool:
    return any(interface.version == 6 for interface in seat.port.addresses)


def _ways_out_that_are_none(topology: Topology, seats: Seats) -> Iterator[PlanError]:
    """`gateway: true` on a network without a gateway."""
    forwarding = routers(topology)
    for name, spec in specs(topology):
        for seat in seats[name]:
            if seat.port.gateway and not (
                seat.port.dhcp
                or _has_gateway(spec)
                or any(other.node in forwarding and other.node != seat.node for other in seats[name])
            ):
                yield PlanError(
                    f"{seat.node} has its default route on {name}, where there is no gateway and no router",
                    at=seat.at.of("gateway"),
                )


def _has_gateway(spec: Network | Link) -> bool:
    """Whether it has a gateway that is no router of ours."""
    if isinstance(spec, Link) or spec.internal:
        return False
    if isinstance(spec.external, str):  # of another fabric, not known yet
        return True
    if isinstance(spec.gateway, HostGateway) and spec.external:
        return bool(spec.gateway.addresses)
    return isinstance(spec.gateway, HostGateway | ExternalGateway)


def _masqueraded_gateways(topology: Topology, seats: Seats) -> Iterator[PlanError]:
    """A gateway whose members' packets would leave by the network that they came from."""
    for name, spec in specs(topology):
        if isinstance(spec, Network) and isinstance(spec.gateway, NodeGateway):
            for seat in seats[name]:
                if seat.node == spec.gateway.node and seat.port.masquerade:
                    yield PlanError(
                        f"{seat.node} is the gateway of {name}, and what lies behind a port with "
                        "`masquerade` is not routed in front of it",
                        at=seat.at.of("masquerade"),
                        hint="masquerade at the port where it leads out",
                    )
