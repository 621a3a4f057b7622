"""Partitions a fabric into parts that can't reach each other: bridges are split, cables pulled.

It is an apply of the same fabric with more bridges, so healing is a reconcile. Runs in a sandbox.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from netfab.engine import apply as engine
from netfab.hosts.local import LocalHost
from netfab.kernel.netns import Namespaces
from netfab.objects.base import HOST, Fabric, KernelObject, Name, node_of
from netfab.objects.bridge import Bridge
from netfab.objects.kinds import KINDS
from netfab.objects.port import Port
from netfab.objects.veth import Veth
from netfab.plan.names import host_link, mac_of
from netfab.plan.underlay import NAME as UNDERLAY
from netfab.testing.inside import switch
from netfab.where import HERE, last_applied, opened_host, opened_store


def split(fabric: str, parts: Mapping[str, int]) -> None:
    """Partition nodes by part number; the host, and nodes without one, are in part 0. Raises NetfabError."""
    with opened_host(fabric, HERE) as host:
        whole = _whole(fabric, host)
        engine.apply(Fabric(fabric, _split(whole, parts)), host, (whole,))
    namespaces = Namespaces()
    for cable in whole.values():
        if type(cable) is not Veth or HOST in (spaces := [end.link.space for end in cable.ends]):
            continue
        if len({parts.get(node_of(space), 0) for space in spaces}) > 1:
            with namespaces.inside(cable.a.link.space):
                switch(cable.a.link.text, up=False)


def mend(fabric: str) -> None:
    """Join all parts again; needed only for what is not kept in a store."""
    with opened_host(fabric, HERE) as host:
        engine.apply(_whole(fabric, host), host)


def _whole(fabric: str, host: LocalHost) -> Fabric:
    """The fabric as applied; for the wire of simulated hosts, as observed, with all ports on one bridge."""
    if fabric != UNDERLAY:
        with opened_store(HERE) as store:
            return last_applied(store, fabric, KINDS)
    own = host.observe(fabric).own
    bridge = Name(HOST, UNDERLAY)
    joined = (thing._replace(bridge=bridge) if type(thing) is Port else thing for thing in own.values())
    return Fabric(fabric, (thing for thing in joined if type(thing) is not Bridge or thing.link == bridge))


def _split(whole: Fabric, parts: Mapping[str, int]) -> Iterator[KernelObject]:
    """The fabric with a bridge of its own for each part of each network."""
    of = {
        thing.a.link: node_of(thing.b.link.space)
        for thing in whole.values()
        if type(thing) is Veth and thing.a.link.space == HOST and thing.b.link.space != HOST
    }
    made: set[Name] = set()
    for thing in whole.values():
        part = parts.get(of.get(thing.link, ""), 0) if type(thing) is Port else 0
        if not part:
            yield thing
            continue
        bridge = Name(HOST, host_link(whole.name, f"part {part}", thing.bridge.text))
        if bridge not in made:
            made.add(bridge)
            yield whole[thing.bridge]._replace(link=bridge, mac=mac_of(whole.name, bridge.text))
        yield thing._replace(bridge=bridge)
