"""NICs of the host that fabrics use: as they are, or, when they were moved, as they were before.

Only reads; what becomes of the answer is for plan/nics.py and objects/nic.py to say.
"""

from __future__ import annotations

from netfab.hosts.local import LocalHost
from netfab.objects.base import Fabric
from netfab.objects.nic import Nic
from netfab.objects.uplink import Uplink
from netfab.plan.facts import FoundNic
from netfab.plan.uplink import nic_of
from netfab.store.store import Store
from netfab.topology.schema import Topology


def nics_of(topology: Topology, host: LocalHost, store: Store) -> dict[str, FoundNic]:
    """The NICs of the host, where the topology speaks of any; one that it moved or lent as it was before."""
    if not _speaks_of_nics(topology):
        return {}
    moving = [link.outside.device for link in topology.links if link.outside and link.outside.kind == "nic"]
    lent = [nic for network in topology.networks.values() if (nic := nic_of(network))]
    return moved_nics(topology.name, store) | host.nics([*moving, *lent])


def barred(topology: Topology, host: LocalHost) -> dict[str, str]:
    """Links of the host that are no NICs that could be had, and why; where the topology speaks of any."""
    return host.barred() if _speaks_of_nics(topology) else {}


def _speaks_of_nics(topology: Topology) -> bool:
    return any(link.outside and link.outside.kind != "host" for link in topology.links) or any(
        map(nic_of, topology.networks.values())
    )


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
