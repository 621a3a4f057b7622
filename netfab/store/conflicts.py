"""What two fabrics can't both hold: overlapping subnets, ports of the host, VNIs, and bridges. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_network

from netfab.errors import LeaseConflict
from netfab.plan.leases import HeldSubnet, Lease, Published


def refuse(*conflicts: Iterable[str]) -> None:
    """Raises LeaseConflict with all conflicts, if there are any."""
    if told := [one for several in conflicts for one in several]:
        raise LeaseConflict("; ".join(told))


def taken_ports(wanted: Iterable[Lease], others: Mapping[str, str]) -> Iterator[str]:
    """Conflicts with ports that other fabrics publish. `others`: port -> fabric."""
    published = Published(others)
    for lease in sorted(wanted):
        if lease.kind == "publish" and (held := published.beside(lease.key)):
            yield f"port {held} is published by fabric {others[held]}"


def taken_vnis(wanted: Iterable[Lease], others: Mapping[int, str]) -> Iterator[str]:
    """Conflicts with VNIs of other fabrics. `others`: VNI -> fabric."""
    for lease in sorted(wanted):
        if lease.kind == "vni" and int(lease.value) in others:
            yield f"VNI {lease.value} is fabric {others[int(lease.value)]}'s"


def taken_bridges(wanted: Iterable[Lease], others: Mapping[str, str]) -> Iterator[str]:
    """Conflicts with bridges of other fabrics. `others`: bridge -> its owner."""
    for lease in sorted(wanted):
        if lease.kind == "bridge" and lease.value in others:
            yield f"{others[lease.value]} has the bridge {lease.value}"


def overlaps(wanted: Iterable[Lease], others: Iterable[HeldSubnet]) -> Iterator[str]:
    """Wanted subnets that overlap one of the others, each reported once.

    One sweep over both, in the order of their first addresses.
    """
    mine = [HeldSubnet("", lease.key, ip_network(lease.value)) for lease in wanted if lease.kind == "subnet"]
    spans = [
        (held.prefix.version, int(held.prefix.network_address), int(held.prefix.broadcast_address), held)
        for held in (*mine, *others)
    ]
    told: set[HeldSubnet] = set()
    reach: dict[bool, tuple[int, int, HeldSubnet]] = {}  # ours, theirs: family, last address so far, subnet
    for family, first, last, held in sorted(spans, key=lambda span: span[:3]):
        own = not held.fabric
        if (before := reach.get(not own)) is not None and before[0] == family and before[1] >= first:
            ours, theirs = (held, before[2]) if own else (before[2], held)
            if ours not in told:
                told.add(ours)
                yield (
                    f"{ours.prefix} for {ours.network} overlaps {theirs.prefix},"
                    f" network {theirs.network} of fabric {theirs.fabric}"
                )
        if own not in reach or reach[own][:2] < (family, last):
            reach[own] = family, last, held
