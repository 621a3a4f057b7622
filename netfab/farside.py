"""What an attachment is plugged into: a bridge of this host, or a NIC. By its name, or by `mac:ADDRESS`.

Only reads; what is made of the answer is adhoc.py's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from netfab.errors import NetfabError, Unsupported
from netfab.nics import moved_nics
from netfab.plan.facts import FoundNic
from netfab.plan.nics import unfit
from netfab.topology import pipework
from netfab.topology.adhoc import BRIDGE, MACVLAN, MOVED, NAME
from netfab.where import Where, opened_host, opened_store

OPENVSWITCH = "openvswitch"  # the kind of the interface that stands for a bridge of Open vSwitch


class FarSides(NamedTuple):
    """All that there is to plug into."""

    bridges: Mapping[str, Mapping[str, Any]]
    nics: Mapping[str, FoundNic]  # those that the ad-hoc fabric moved, too


def far_sides(where: Where) -> FarSides:
    """Those of this host."""
    with opened_store(where) as store:
        moved = moved_nics(NAME, store)
    with opened_host(NAME, where) as host:
        return FarSides(host.bridges(), moved | host.nics())


def named(word: str, there: FarSides) -> str:
    """The interface's name; `mac:ADDRESS` is what has that address. Raises NetfabError."""
    mac = pipework.mac_of_far_side(word)
    if not mac:
        return pipework.interface(word)
    macs = {found["mac"]: name for name, found in there.bridges.items()}
    macs |= {found.original.mac: name for name, found in there.nics.items()}
    if mac not in macs:
        raise NetfabError(f"no bridge or NIC of this host has the MAC {mac}")
    return macs[mac]


def way_to(name: str, moves: bool, there: FarSides) -> str:
    """How an interface gets there. Raises NetfabError where there is no way."""
    found = there.nics.get(name)
    if name in there.bridges or (found is None and name.startswith("br")):
        if moves:
            raise NetfabError(f"--direct-phys moves a NIC, and {name} is a bridge")
        return BRIDGE
    if found.original.kind == OPENVSWITCH if found else name.startswith("ovs"):
        raise Unsupported(
            f"{name} would be a bridge of Open vSwitch, which is not supported yet",
            hint="a Linux bridge does the same here; a new one's name begins with br",
        )
    if found is None:
        raise NetfabError(
            f"there is no bridge or NIC {name} on this host",
            hint="a new bridge is made when its name begins with br",
        )
    if wrong := unfit(name, moves, there.nics, ()):
        raise wrong
    if not moves and not found.original.up:
        raise NetfabError(
            f"{name} is down, so nothing would pass it",
            hint=f"`ip link set {name} up`: what others own, netfab does not switch on",
        )
    return MOVED if moves else MACVLAN


def refuse_vlan(vlan: int, name: str, way: str) -> None:
    """VLANs need a kernel that tags frames, on a NIC as on a bridge that filters. Raises Unsupported."""
    from netfab.kernel.features import can_make

    if not vlan:
        return
    if way == BRIDGE:
        pipework.refuse_vlan(vlan, name)
    if not can_make("vlan"):
        raise Unsupported(
            f"VLAN {vlan} on {name}: this kernel lacks 802.1q", hint="`modprobe 8021q`, where it is a module"
        )
    raise Unsupported(
        f"VLAN {vlan} on {name}: VLANs of a NIC are not supported yet",
        hint=f"`ip link add link {name} name {name}.{vlan} type vlan id {vlan}`, and attach that",
    )
