"""Links that end on the host: through a NIC (`macvlan:IF`), with the NIC itself (`nic:IF`), or at `host:IF`.

What can't be had of a NIC is refused here; that it can't be done by this kernel is for the kernel to say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from netfab.errors import NetfabError, PlanError, Unsupported
from netfab.objects.address import Address, link_local
from netfab.objects.base import HOST, Fabric, KernelObject, Name
from netfab.objects.guest import Guest
from netfab.objects.link import Settings, group_of
from netfab.objects.macvlan import Macvlan
from netfab.objects.nic import Nic as MovedNic
from netfab.objects.uplink import Uplink
from netfab.objects.veth import End, Veth
from netfab.objects.vlan import Vlan
from netfab.plan.facts import Facts, FoundNic, nic_below
from netfab.plan.layout import Nic, Segment
from netfab.plan.leases import Lease
from netfab.plan.mtu import IPV6_MTU, port_mtu, settings_for
from netfab.plan.names import mac_of, vlan_link
from netfab.plan.node import end_of
from netfab.topology.schema import PLANNED, Outside, Planned, Topology

INFINIBAND = 32  # ARPHRD_INFINIBAND, net/if_arp.h


def objects(
    fabric: str, nic: Nic, outside: Outside, segment: Segment, router: bool, facts: Facts
) -> Iterator[KernelObject]:
    """A node's interface, and the host's link that it uses, if that is ours."""
    end, link = end_of(fabric, nic, segment, router, facts), Name(HOST, outside.device)
    if outside.kind == "macvlan":
        below, vlan = nic_below(outside.device, facts.nics)
        link = Name(HOST, below)
        if vlan:
            link = Name(HOST, vlan_link(fabric, below, vlan, facts.links))
            original = facts.nics[below].original
            settings = settings_for(original.mtu, facts, Settings())
            upper = End(link, original.mac, original.mtu, settings=settings)
            yield Vlan(upper, Name(HOST, below), vlan, group_of(fabric))
        yield Macvlan(end, link, group_of(fabric))
    elif outside.kind == "nic":
        yield MovedNic(outside.device, end, group_of(fabric), facts.nics[outside.device].original)
    else:
        port = outside.port
        mac = mac_of(fabric, "host", nic.node, nic.name) if port.mac is PLANNED else port.mac
        mtu = port_mtu(port, nic.mtu)
        settings = settings_for(mtu, facts, Settings())
        yield Veth(End(link, mac, mtu, settings=settings), end, group_of(fabric))
        for interface in segment.host_addresses:
            yield Address(link, interface.ip, interface.network.prefixlen)
        if segment.ipv6 and segment.host_addresses and mtu >= IPV6_MTU:
            yield Address(link, link_local(mac), 64)


def claims(fabric: Fabric) -> Iterator[Lease]:
    """What must be recorded before it is made, lest a kill leaves it where nobody looks.

    A NIC that is moved or lent, with its original state; a macvlan in a guest, which goes with no end of
    ours.
    """
    guests = {thing.space: thing for thing in fabric.values() if isinstance(thing, Guest)}
    for thing in fabric.values():
        if isinstance(thing, Uplink):
            yield Lease("inside", str(thing), Fabric(fabric.name, [thing]).to_json())
        elif isinstance(thing, MovedNic) or (isinstance(thing, Macvlan) and thing.end.link.space in guests):
            there = [guest] if (guest := guests.get(thing.end.link.space)) else []
            yield Lease("inside", str(thing.end.link), Fabric(fabric.name, [*there, thing]).to_json())


def unusable(topology: Topology, facts: Facts) -> Iterator[NetfabError]:
    """Ends on NICs that can't be used."""
    outsides = [link.outside for link in topology.links if link.outside is not None]
    uses = Counter(nic_below(outside.device, facts.nics)[0] for outside in outsides)
    for link in topology.links:
        outside = link.outside
        if outside is None:
            continue
        yield from _written_for_nobody(outside)
        if outside.kind == "host":
            continue
        at = outside.at.of("node")
        below, _ = nic_below(outside.device, facts.nics) if outside.kind == "macvlan" else (outside.device, 0)
        wrong = unfit(below, outside.kind == "nic", facts.nics, facts.uplinks)
        if wrong is not None:
            wrong.at = at
            yield wrong
        elif outside.kind == "nic" and uses[outside.device] > 1:
            yield PlanError(f"{outside.device} can't be moved into a node and be used elsewhere, too", at=at)
        else:
            mtu = next((end.port.mtu for end in link.ends if not end.is_outside), 0)
            most = facts.nics[below].original.mtu
            if outside.kind == "macvlan" and not isinstance(mtu, Planned) and mtu > most:
                yield PlanError(f"an MTU of {mtu} is more than {below} has, {most}", at=at)


def _written_for_nobody(outside: Outside) -> Iterator[PlanError]:
    """Keys of an end that is not ours to set, or that has no such thing."""
    known = {"node", "ip", "mac", "mtu"} if outside.kind == "host" else {"node"}
    for key in outside.at.keys.keys() - known:
        yield PlanError(
            f"`{key}` has no meaning for {outside.kind}:{outside.device}, an interface of the host",
            at=outside.at.of(key),
            hint="the other end of the link is the node's",
        )


def unfit(
    device: str, moves: bool, nics: Mapping[str, FoundNic], uplinks: Collection[str]
) -> NetfabError | None:
    """Why that NIC can't have a macvlan, or be moved, as an error without a place."""
    found = nics.get(device)
    if found is None:
        return PlanError(f"this host has no NIC {device}")
    if found.moved:
        return None if moves else PlanError(f"{device} is moved into a node, and can't be shared meanwhile")
    if found.master:
        hint = f"the bridge takes attachments: `{found.master}` in place of `{device}`"
        return PlanError(f"{device} is a port of {found.master}", hint=hint)
    if found.hardware == INFINIBAND:
        return Unsupported(f"{device} is IP over InfiniBand, which is not supported yet")
    if moves and set(uplinks) == {device}:
        return PlanError(
            f"{device} has the only default route of this host, which would be cut off",
            hint=f"`macvlan:{device}`, or `attach {device}` without --direct-phys, shares the NIC",
        )
    return None


def warnings(topology: Topology, facts: Facts) -> Iterator[str]:
    """NICs that are down: interfaces on them have no carrier."""
    for link in topology.links:
        if link.outside is not None and link.outside.kind == "macvlan":
            device, _ = nic_below(link.outside.device, facts.nics)
            if not facts.nics[device].original.up:
                yield f"{device} is down, so nothing passes it; `ip link set {device} up`"
