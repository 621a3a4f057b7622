"""The far side of an attachment: a bridge of this host, or a NIC, by its name or by `mac:ADDRESS`.

Only reads; adhoc.py acts on the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from netfab.errors import NetfabError
from netfab.kernel.facts import bridges, is_link
from netfab.kernel.netlink import Netlink
from netfab.kernel.openvswitch import refuse_absent
from netfab.objects.filtering import FEATURE as FILTERING
from netfab.store.store import Store
from netfab.topology import pipework
from netfab.topology.adhoc import BRIDGE, MACVLAN, MOVED, NAME, SWITCH, Attachment
from netfab.where import Where, opened_host

if TYPE_CHECKING:
    from netfab.plan.facts import FoundNic

OPENVSWITCH = "openvswitch"  # the kind of the interface that represents an Open vSwitch bridge
FIRST_VLAN = 1  # a bridge's default VLAN


class FarSides:
    """All possible far sides; NICs are read only on demand, as most attachments go to bridges."""

    def __init__(
        self, bridges: Mapping[str, Mapping[str, Any]], nics: Callable[[], Mapping[str, FoundNic]]
    ) -> None:
        self.bridges = bridges
        self._look = nics

    @cached_property
    def nics(self) -> Mapping[str, FoundNic]:
        """NICs by name, including those that the ad-hoc fabric moved."""
        return self._look()


def far_sides(store: Store, where: Where) -> FarSides:
    """The far sides of this host, valid while the store is open."""
    with closing(Netlink()) as netlink:
        return FarSides(bridges(NAME, netlink), partial(_nics, store, where))


def _nics(store: Store, where: Where) -> Mapping[str, FoundNic]:
    from netfab.facts.nics import moved_nics

    with opened_host(NAME, where) as host:
        return moved_nics(host, store) | host.nics()


def named(word: str, there: FarSides) -> str:
    """The name of an interface, which may be given by `mac:ADDRESS`. Raises NetfabError."""
    mac = pipework.mac_of_far_side(word)
    if not mac:
        return pipework.interface(word)
    macs = {found["mac"]: name for name, found in there.bridges.items()}
    macs |= {found.original.mac: name for name, found in there.nics.items()}
    if mac not in macs:
        raise NetfabError(f"no bridge or NIC of this host has the MAC {mac}")
    return macs[mac]


def way_to(name: str, moves: bool, there: FarSides) -> str:
    """How an interface is connected there. Raises NetfabError if it can't be."""
    if name in there.bridges or (name.startswith(("br", "ovs")) and not _is_nic(name, there)):
        if moves:
            raise NetfabError(f"--direct-phys moves a NIC, and {name} is a bridge")
        return _way_to_bridge(name, there)
    found = there.nics.get(name)
    if found is None:
        raise NetfabError(
            f"there is no bridge or NIC {name} on this host",
            hint="a new bridge is made when its name begins with br, or with ovs, of Open vSwitch",
        )
    if found.original.kind == OPENVSWITCH:
        refuse_absent(f"{name} is of Open vSwitch")
    from netfab.plan.nics import unfit

    if wrong := unfit(name, moves, there.nics, ()):
        raise wrong
    if not moves and not found.original.up:
        raise NetfabError(
            f"{name} is down, so nothing would pass it",
            hint=f"`ip link set {name} up`: what others own, netfab does not switch on",
        )
    return MOVED if moves else MACVLAN


def _is_nic(name: str, there: FarSides) -> bool:
    return is_link(name) and name in there.nics


def _way_to_bridge(name: str, there: FarSides) -> str:
    """By the bridge's kind, or for a new one, by its name. Raises Unsupported."""
    if there.bridges[name]["openvswitch"] if name in there.bridges else name.startswith("ovs"):
        refuse_absent(f"{name} is to be a bridge of Open vSwitch")
        return SWITCH
    return BRIDGE


def refuse_silent_switch(attachments: Iterable[Attachment]) -> None:
    """Raises NetfabError if Open vSwitch is needed but not running: its ports can't be read then."""
    for one in attachments:
        if one.way == SWITCH:
            refuse_absent(f"{one.interface} of {one.title} is attached to {one.bridge}")


def vlan_on(name: str, way: str, vlan: int, there: FarSides) -> int:
    """The VLAN to put an interface there into; 0 if it is in that one by default.

    Raises NetfabError if that is impossible: netfab changes no foreign bridge, and not every kernel can tag.
    """
    if not vlan or way == SWITCH:
        return vlan
    what = f"VLAN {vlan} on {name}"
    if way == MOVED:
        raise NetfabError(f"{what}: --direct-phys moves the NIC with all its VLANs", hint="leave it out")
    from netfab.kernel.features import refuse_without

    if way == MACVLAN:
        from netfab.objects.vlan import FEATURE as TAGGING

        refuse_without(TAGGING, what)
        return vlan
    found = there.bridges.get(name)
    filtering = found is not None and found["vlan"] is not None
    if vlan == (found["vlan"] if found and filtering else FIRST_VLAN):
        return 0
    refuse_without(FILTERING, what)
    if found and not found["own"] and not filtering:
        raise NetfabError(
            f"{what}: {name} does not filter VLANs, and netfab changes no bridge that it did not make",
            hint=f"`ip link set {name} type bridge vlan_filtering 1`",
        )
    return vlan
