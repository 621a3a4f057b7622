"""NICs of the host that fabrics use: as they are, or, if they were moved, as they were before.

Only reads; plan/nics.py and objects/nic.py act on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from netfab.hosts.local import LocalHost
from netfab.objects.base import Fabric, by_kind
from netfab.plan.facts import FoundNic
from netfab.plan.leases import Lease
from netfab.store.store import Store

if TYPE_CHECKING:
    from netfab.objects.nic import Nic
    from netfab.objects.uplink import Uplink


def moved_nics(host: LocalHost, store: Store) -> dict[str, FoundNic]:
    """NICs that the host's fabric moved or lent, or was about to, except lent ones that were unplugged."""
    kept = [lease.value for lease in store.leases(host.fabric) if lease.kind == "inside"]
    if not kept:
        return {}
    from netfab.objects.nic import Nic
    from netfab.objects.uplink import Uplink

    claimed = [thing for text in kept for thing in Fabric.from_json(text, (Nic, Uplink)).values()]
    gone = unplugged((thing.nic for thing in claimed if isinstance(thing, Uplink)), host)
    return {
        _name(thing): FoundNic(thing.original, moved=True)
        for thing in claimed
        if isinstance(thing, Nic) or thing.nic not in gone
    }


def unplugged(names: Iterable[str], host: LocalHost) -> set[str]:
    """Which of these NICs, lent to bridges, are no longer links of the host."""
    wanted = set(names)
    return wanted.difference(host.nics(), host.barred()) if wanted else wanted


def without_unplugged(fabric: Fabric, host: LocalHost) -> Fabric:
    """The fabric without uplinks whose NIC is missing, which can't be repaired before it is back."""
    lent = by_kind((fabric,)).get("Uplink", ())
    gone = unplugged((thing.nic for thing in lent), host)
    return fabric.without(thing.names[0] for thing in lent if thing.nic in gone) if gone else fabric


def told_unplugged(leases: Iterable[Lease], fabric: Fabric, host: LocalHost) -> Iterator[str]:
    """Warnings about missing uplinks, of commands or files."""
    lent = {lease.key: lease.value for lease in leases if lease.kind == "uplink"}
    lent |= {thing.nic: thing.bridge.text for thing in by_kind((fabric,)).get("Uplink", ())}
    for nic in sorted(unplugged(lent, host)):
        yield f"{nic}, the uplink of {lent[nic]}, is gone from this host; it is lent again when it is back"


def as_they_came_back(fabric: Fabric, host: LocalHost) -> Fabric:
    """The fabric with the current state of NICs that are in the host's namespace, as after a reboot."""
    if by_kind((fabric,)).keys().isdisjoint({"Nic", "Uplink"}):
        return fabric
    from netfab.objects.nic import Nic
    from netfab.objects.uplink import Uplink

    there = host.nics([_name(thing) for thing in fabric.values() if isinstance(thing, Nic | Uplink)])
    return Fabric(
        fabric.name,
        (
            thing._replace(original=there[_name(thing)].original)
            if isinstance(thing, Nic | Uplink) and _name(thing) in there
            else thing
            for thing in fabric.values()
        ),
    )


def _name(thing: Nic | Uplink) -> str:
    """The NIC's name in the host's namespace."""
    from netfab.objects.nic import Nic

    return thing.name if isinstance(thing, Nic) else thing.nic
