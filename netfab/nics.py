"""NICs of the host that fabrics use: as they are, or, when they were moved, as they were before.

Only reads; what becomes of the answer is for plan/nics.py and objects/nic.py to say.
"""

from __future__ import annotations

from netfab.hosts.local import LocalHost
from netfab.objects.base import Fabric
from netfab.objects.nic import Nic
from netfab.objects.uplink import Uplink
from netfab.plan.facts import Asked, FoundNic
from netfab.store.store import Store


def nics_of(asked: Asked, host: LocalHost, store: Store) -> dict[str, FoundNic]:
    """The NICs of the host, where links to any are asked for; as they were before its fabric had them."""
    return moved_nics(host.fabric, store) | host.nics(asked.moving) if asked.nics else {}


def barred(asked: Asked, host: LocalHost) -> dict[str, str]:
    """Links of the host that are no NICs that could be had, and why; where NICs are asked for."""
    return host.barred() if asked.nics else {}


def moved_nics(fabric: str, store: Store) -> dict[str, FoundNic]:
    """Those that a fabric has moved or lent, or was about to."""
    return {
        _name(thing): FoundNic(thing.original, moved=True)
        for lease in store.leases(fabric)
        if lease.kind == "inside"
        for thing in Fabric.from_json(lease.value, (Nic, Uplink)).values()
    }


def as_they_came_back(fabric: Fabric, host: LocalHost) -> Fabric:
    """The fabric with what its NICs have now, of those that are at home: after a reboot, say."""
    names = [_name(thing) for thing in fabric.values() if isinstance(thing, Nic | Uplink)]
    there = host.nics(names) if names else {}
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
    """What the NIC is called at home."""
    return thing.name if isinstance(thing, Nic) else thing.nic
