"""Refusals of interfaces named BASE.N, which are VLAN N on the cable BASE of their node."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence

from netfab.errors import Location, PlanError
from netfab.objects.base import HOST
from netfab.plan.seats import Seat, specs
from netfab.topology.grammar import tag_of
from netfab.topology.schema import Link, Network, Topology


def conflicts(topology: Topology, seats: Mapping[str, Sequence[Seat]]) -> Iterator[PlanError]:
    """VLAN interfaces whose cable is impossible: its two ends must have the same VLANs."""
    far: dict[tuple[str, str], tuple[Hashable, str]] = {}
    widths = {(seat.node, seat.name): seat.port.mtu for several in seats.values() for seat in several}
    for segment, spec in specs(topology):
        for seat in seats[segment]:
            tag = tag_of(seat.name)
            if tag and (message := _wrong(seat, tag, spec, seats[segment])):
                yield PlanError(message, at=_named_at(seat))
                continue
            there = _there(seat, spec, seats[segment])
            if there is None:
                continue
            known = far.setdefault((seat.node, tag[0] if tag else seat.name), there)
            if known[0] != there[0]:
                yield PlanError(
                    f"{tag[0] if tag else seat.name} of {seat.node} is a cable to {known[1]}, "
                    f"and can't be one to {there[1]}, too",
                    at=_named_at(seat),
                )
            mtu = widths.get((seat.node, tag[0])) if tag else None
            if isinstance(mtu, int) and isinstance(seat.port.mtu, int) and seat.port.mtu > mtu:
                yield PlanError(
                    f"{seat.name} has an MTU of {seat.port.mtu}, and its cable one of {mtu}",
                    at=seat.at.of("mtu"),
                )


def _named_at(seat: Seat) -> Location:
    return seat.at.of("name")


def _wrong(seat: Seat, tag: tuple[str, int], spec: Network | Link, on_it: Sequence[Seat]) -> str:
    """What is wrong with that interface's name; "" if nothing."""
    what = f"{seat.name} of {seat.node} is VLAN {tag[1]} on {tag[0]}"
    if tag_of(tag[0]):
        return f"{what}, which is a VLAN itself"
    if isinstance(spec, Network):
        return ""
    if spec.outside is not None:
        return f"{what}, and {spec.outside.kind}:{spec.outside.device} is not a cable of it"
    (other,) = (one for one in on_it if one is not seat)
    other_tag = tag_of(other.name)
    if other_tag is None or other_tag[1] != tag[1]:
        return f"{what}, and {other.name} of {other.node} at the other end is not"
    return ""


def _there(seat: Seat, spec: Network | Link, on_it: Sequence[Seat]) -> tuple[Hashable, str] | None:
    """Where an interface's cable leads, for comparison and in words; None if it has none."""
    if isinstance(spec, Network):
        return HOST, "the host"
    others = [one for one in on_it if one is not seat]
    if spec.outside is not None or not others:
        return None
    tag = tag_of(others[0].name)
    base = tag[0] if tag else others[0].name
    return (others[0].node, base), f"{base} of {others[0].node}"
