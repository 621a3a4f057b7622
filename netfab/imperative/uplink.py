"""`netfab uplink`: lend a NIC of the host to a bridge, and return it. An entry of the ad-hoc fabric."""

from __future__ import annotations

from netfab.errors import NetfabError
from netfab.facts import shared_bridges
from netfab.facts.nics import unplugged
from netfab.imperative import adhoc
from netfab.imperative.adhoc import Outcome
from netfab.imperative.farside import FarSides, named
from netfab.objects.original import Original
from netfab.plan.facts import FoundNic
from netfab.plan.uplink import on_switch
from netfab.topology import pipework
from netfab.topology.adhoc import NAME
from netfab.tuples import NamedTuple
from netfab.where import HERE, Where, need_root, opened_host, opened_store

__all__ = ["NAME", "Lent", "detach", "uplink", "uplinks"]
_UNKNOWN = FoundNic(Original("", 0, "", 0, 0, False))  # the planner refuses what is no NIC, by name


def uplink(bridge: str, nic: str, where: Where = HERE, dry_run: bool = False) -> Outcome:
    """Make a NIC a port of a bridge, which takes over the NIC's addresses and routes.

    A missing bridge is created if its name begins with br. Repeating it changes nothing.
    Raises NetfabError if nothing was changed, or everything was undone.
    """
    need_root("uplink")
    with adhoc.alone(where) as where:
        there, asked = adhoc.what_there_is(where)
        name, port = named(bridge, there), pipework.interface(nic)
        _refuse(name, port, asked.uplinks.get(port, ""), there, where)
        if others := [other for other, on in asked.uplinks.items() if on == name and other != port]:
            raise NetfabError(
                f"{name} has the uplink {others[0]}; with a second one to the same LAN there is a loop"
            )
        wanted = asked._replace(uplinks={**asked.uplinks, port: name})
        nics = {port: _UNKNOWN, **there.nics}
        return adhoc.applied(wanted, FarSides(there.bridges, lambda: nics), where, dry_run)


class Lent(NamedTuple):
    """A NIC lent to a bridge, and whether it is gone from this host."""

    bridge: str
    nic: str
    gone: bool


def uplinks(where: Where = HERE) -> list[Lent]:
    """All lent NICs, by bridge."""
    asked = adhoc.asked_for(where)
    with opened_host(NAME, where) as host:
        gone = unplugged(asked.uplinks, host)
    return sorted(Lent(bridge, nic, nic in gone) for nic, bridge in asked.uplinks.items())


def _refuse(bridge: str, nic: str, before: str, there: FarSides, where: Where) -> None:
    """Refuse what only this host's state rules out. Raises NetfabError."""
    found = there.bridges.get(bridge)
    if before not in ("", bridge):
        raise NetfabError(f"{nic} is the uplink of {before}", hint=f"`netfab detach {before} {nic}` first")
    if found["openvswitch"] if found is not None else bridge.startswith("ovs"):
        raise on_switch(bridge, nic)
    if found is None and not bridge.startswith("br"):
        raise NetfabError(
            f"there is no bridge {bridge} on this host",
            hint="a new bridge is made when its name begins with br",
        )
    with opened_store(where) as store:
        if holder := shared_bridges.fabric_of_bridge(store, bridge):
            raise NetfabError(
                f"{bridge} is {holder}", hint=f"`uplink: {nic}` there, and `netfab apply`, make it its port"
            )
    if found is not None and not found["own"]:
        if not found["up"]:
            raise NetfabError(
                f"{bridge} is down, so nothing would pass it", hint=f"`ip link set {bridge} up`"
            )
        if found["stp"]:
            raise NetfabError(
                f"{bridge} has spanning tree on: for as long as it listens, this host would be cut off",
                hint=f"`ip link set {bridge} type bridge stp_state 0`",
            )


def detach(bridge: str, word: str, interface: str = "", where: Where = HERE) -> tuple[str, Outcome]:
    """Undo `attach` for a guest, or return a NIC that is the bridge's uplink.

    Returns the NIC's name, if it was one. What is missing is no error.
    """
    need_root("detach")
    with adhoc.alone(where) as inside:
        there, asked = adhoc.what_there_is(inside)
        name = named(bridge, there)
        if asked.uplinks.get(word) == name and not interface:
            left = {nic: on for nic, on in asked.uplinks.items() if nic != word}
            return word, adhoc.applied(asked._replace(uplinks=left), there, inside)
        if word in there.nics and all(word != one.title for one in asked.attachments.values()):
            return "", Outcome((), ())
    return "", adhoc.detach(bridge, word, interface, where)
