"""Default routes of the host that appeared after a fabric was applied; pure.

network.py says what a fabric needs of one; here it is only said that another apply is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from typing import Any

from netfab.objects.base import Fabric, by_kind
from netfab.objects.firewall import OPEN
from netfab.plan.facts import Facts
from netfab.plan.network import switched_off


def unknown(
    fabric: Fabric, networks: Mapping[str, Mapping[str, Any]], facts: Facts, cure: str
) -> Iterator[str]:
    """Devices that lead out now, and by which the fabric, as it was applied, gets no answers.

    networks: as in the summary. facts: of the host as it is now. cure: the command that repairs it.
    """
    things = by_kind((fabric,))
    bridges = {
        element[0]
        for table in things.get("Firewall", ())
        for found in table.sets
        if found.name == OPEN
        for element in found.elements
    }
    subnets = [each for found in networks.values() if found["bridge"] in bridges for each in found["subnets"]]
    families = {ip_network(subnet).version for subnet in subnets}
    borrowed = {thing.key for thing in things.get("Borrowed", ())}  # a change of those is drift
    passed = {(thing.family, thing.uplink) for thing in things.get("Passage", ())}
    docker = [family for family in facts.docker if {"ip": 4, "ip6": 6}[family] in families]
    for device in facts.uplinks:
        off = (thing.key for thing in switched_off([device], families, facts))
        if device in facts.links and (
            not borrowed.issuperset(off) or not passed.issuperset((family, device) for family in docker)
        ):
            yield (
                f"{device} leads out of this host, and did not when {fabric.name} was applied: no answers"
                f" come back by it until the next `{cure}`"
            )
