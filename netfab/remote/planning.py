"""A plan for every host that answers, from what each says of itself."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

from netfab import shared
from netfab.errors import NetfabError, raise_all
from netfab.objects.base import Fabric
from netfab.objects.decode import decoder
from netfab.objects.kinds import KINDS
from netfab.plan.facts import Asked, Facts, asked_by
from netfab.plan.part import nodes_of, part_of
from netfab.plan.placement import plan_hosts
from netfab.plan.planner import Plan
from netfab.plan.planner import plan as plan_for_one
from netfab.plan.runs_on import place
from netfab.plan.subnets import Reservation
from netfab.remote.alone import facts_of_others, undetermined
from netfab.remote.meeting import greeted, tell_what_was_decided
from netfab.remote.orders import Planned, leases_of
from netfab.remote.party import Party
from netfab.runtime.paths import RUN_DIRECTORY
from netfab.store.book import Entry, Others
from netfab.topology.schema import Topology
from netfab.visits import refuse_unfound

_facts = decoder(Facts)


def planned(
    topology: Topology,
    together: Party,
    hosts: Collection[str],
    entry: Entry | None,
    others: Others,
    skip_unreachable: bool = False,
    only: Collection[str] = (),
) -> Planned:
    """Ask every host who it is, and plan for those that answer; `only` some nodes.

    `others`: what else is held than hosts know. Raises NetfabError.
    """
    applied = entry.summary["nodes"] if entry else ()
    asked = _asked(topology, hosts, nodes_of(topology, only, applied) if only else topology.nodes)
    said = greeted(together, topology.name, asked, skip_unreachable)
    out = tuple(f"{host} was left out: it is not reached" for host in hosts if host not in said)
    tell_what_was_decided(together, topology.name, said)
    there = {host: said[host] for host in hosts if host in said}
    for answer in there.values():
        unfound = {word: NetfabError(*told) for word, told in answer["unfound"].items()}
        refuse_unfound(topology, unfound)
    facts = {host: _with_others(_facts(answer["facts"]), others) for host, answer in there.items()}
    leases, run = leases_of(said, entry), next(iter(said.values()), {}).get("run", RUN_DIRECTORY)
    if topology.hosts:
        plans = plan_hosts(topology, leases, facts, run)
    else:
        (host,) = facts
        topology = shared.joined(topology, said[host]["networks"])
        plans = {host: plan_for_one(topology, leases, facts[host], run)}
    if not only:
        return Planned(plans, said, out, facts, leases)
    parts = {host: part_of(topology, plan, only, applied) for host, plan in plans.items()}
    return Planned(parts, said, out, facts, leases, _what_is_there(together, parts))


def _with_others(facts: Facts, others: Others) -> Facts:
    """What a host says, with what is held elsewhere."""
    known = {reservation.prefix for reservation in facts.reservations}
    held = tuple(
        Reservation(subnet.prefix, f"network {subnet.network} of fabric {subnet.fabric}")
        for subnet in others.subnets
        if subnet.prefix not in known
    )
    vnis = tuple((vni, f"fabric {fabric}'s") for vni, fabric in others.vnis.items())
    return facts._replace(reservations=held + facts.reservations, vnis=(*facts.vnis, *vnis))


def _what_is_there(together: Party, parts: Mapping[str, Plan]) -> dict[str, Fabric]:
    """The fabric as it is on each host."""
    questions = {
        host: {"verb": "observe", "fabric": json.loads(part.fabric.to_json())} for host, part in parts.items()
    }
    said = together.ask_all(questions)
    return {host: Fabric.from_json(json.dumps(answer["fabric"]), KINDS) for host, answer in said.items()}


def planned_alone(topology: Topology, together: Party, host: str) -> Planned:
    """Ask that host alone, and plan for it. Raises NetfabError where others would have to be asked."""
    said = greeted(together, topology.name, _asked(topology, [host], topology.nodes))
    refuse_unfound(topology, {word: NetfabError(*told) for word, told in said[host]["unfound"].items()})
    facts, leases = _facts(said[host]["facts"]), leases_of(said, None)
    applied = {str(device): int(mtu) for device, mtu in said[host]["mtus"].items()}
    others = facts_of_others(topology, host, leases, applied)
    plan = plan_hosts(topology, leases, {host: facts, **others}, said[host]["run"])[host]
    raise_all(undetermined(topology, host, plan, leases, applied))
    return Planned({host: plan}, said, (), {host: facts}, leases)


def _asked(topology: Topology, hosts: Collection[str], nodes: Collection[str]) -> dict[str, Asked]:
    """What each host is to say of guests and NICs: those of its own nodes, of these."""
    if not topology.hosts:
        return dict.fromkeys(hosts, asked_by(topology, nodes))
    runs_on = place(topology).nodes
    return {
        host: asked_by(topology, [node for node, where in runs_on.items() if where == host and node in nodes])
        for host in hosts
    }
