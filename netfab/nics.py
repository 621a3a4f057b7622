"""NICs of the host that fabrics use: as they are, or, when they were moved, as they were before.

Only reads; what becomes of the answer is for plan/nics.py and objects/nic.py to say.
"""

from __future__ import annotations

from netfab.hosts.local import LocalHost
from netfab.objects.base import Fabric
from netfab.objects.nic import Nic
from netfab.plan.facts import Asked, FoundNic
from netfab.store.store import Store


def nics_of(asked: Asked, host: LocalHost, store: Store) -> dict[str, FoundNic]:
    """The NICs of the host, where links to any are asked for; one that its fabric moved as it was before."""
    return moved_nics(host.fabric, store) | host.nics(asked.moving) if asked.nics else {}


def moved_nics(fabric: str, store: Store) -> dict[str, FoundNic]:
    """Those that a fabric has moved, or was about to."""
    return {
        thing.name: FoundNic(thing.original, moved=True)
        for lease in store.leases(fabric)
        if lease.kind == "inside"
        for thing in Fabric.from_json(lease.value, (Nic,)).values()
    }


def as_they_came_back(fabric: Fabric, host: LocalHost) -> Fabric:
    """The fabric with what its NICs have now, of those that are at home: after a reboot, say."""
    names = [thing.name for thing in fabric.values() if type(thing) is Nic]
    there = host.nics(names) if names else {}
    return Fabric(
        fabric.name,
        (
            thing._replace(original=there[thing.name].original)
            if type(thing) is Nic and thing.name in there
            else thing
            for thing in fabric.values()
        ),
    )
