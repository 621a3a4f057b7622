"""The planner's facts about this host, and what fabrics hold on it. Only reads."""

from __future__ import annotations

from netfab.errors import NetfabError
from netfab.facts.guests import guests_of
from netfab.facts.shared_bridges import held_on_bridges
from netfab.hosts.local import LocalHost
from netfab.objects.base import Fabric
from netfab.plan.facts import Asked, Facts, FoundNic
from netfab.plan.leases import Lease
from netfab.plan.subnets import Reservation
from netfab.store.store import Store
from netfab.where import Where


def facts_of(
    asked: Asked, host: LocalHost, store: Store, leases: frozenset[Lease], last: Fabric, where: Where
) -> tuple[Facts, dict[str, NetfabError]]:
    """The facts about the host, and what fabrics hold on it; and the errors of guests that were not found.

    `leases`: what the fabric holds; `last`: the fabric as last applied, at least its guests.
    """
    facts, name = host.facts(), host.fabric
    held = tuple(
        Reservation(subnet.prefix, f"network {subnet.network} of fabric {subnet.fabric}")
        for subnet in store.held(name)
    )
    own = {lease.key: lease.value for lease in leases if lease.kind == "borrowed"}
    originals = {**facts.sysctls, **store.borrowed(name), **own}
    ours = {lease.value for lease in leases if lease.kind == "bridge"}
    guests, unfound = guests_of(asked, last, where)
    nics, barred = _nics_of(asked, host, store)
    all_of_it = facts._replace(
        reservations=held + facts.reservations,
        sysctls=originals,
        published=store.published(name),
        bridges={bridge: holder for bridge, holder in store.bridges(name).items() if bridge not in ours},
        vnis=(
            *facts.vnis,
            *((vni, f"fabric {other}'s on this host") for vni, other in store.vnis(name).items()),
        ),
        guests=guests,
        nics=nics,
        barred=barred,
        held=held_on_bridges(store, name),
        esp=host.esp() if asked.esp else None,
    )
    return all_of_it, unfound


def _nics_of(asked: Asked, host: LocalHost, store: Store) -> tuple[dict[str, FoundNic], dict[str, str]]:
    """The NICs of the host, as they were before a fabric took them; and why other links can't be used.

    Empty if none is asked for.
    """
    if not asked.nics:
        return {}, {}
    from netfab.facts.nics import moved_nics

    return moved_nics(host, store) | host.nics(asked.moving), host.barred()
