"""What apply would do: plan a topology, compare it with the kernel, and claim its leases.

fabric.py re-exports `plan`. Changes nothing but the leases that `claim` takes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection

from netfab.applying.pulling import as_far_as_they_are_here
from netfab.engine import apply as engine
from netfab.engine.apply import Observed
from netfab.engine.diff import Change
from netfab.errors import LeaseConflict, raise_all
from netfab.facts.gathering import facts_of
from netfab.facts.guests import refuse_unfound
from netfab.facts.shared_bridges import joined, networks_of
from netfab.hosts.local import LocalHost
from netfab.objects.base import Fabric
from netfab.objects.kinds import KINDS
from netfab.plan.facts import Facts, asked_by
from netfab.plan.guests import guest_of
from netfab.plan.leases import Lease
from netfab.plan.planner import Plan, summary
from netfab.plan.planner import plan as plan_topology
from netfab.plan.prefixes import reasons
from netfab.plan.renames import renamed
from netfab.store.store import Record, Store
from netfab.topology.schema import Topology
from netfab.tuples import NamedTuple
from netfab.where import HERE, Where, last_applied, opened_host, opened_store, refuse_another

ATTEMPTS = 20  # to plan, while other processes claim what was planned


class Proposal(NamedTuple):
    """What apply would do: the desired and the observed fabric, and the changes between them.

    `live` is False if it was compared with what was last applied, not with the kernel.
    """

    topology: Topology
    plan: Plan
    changes: tuple[Change, ...]
    live: bool
    desired: Fabric
    observed: Fabric
    reasons: tuple[str, ...] = ()


def plan(
    topology: Topology,
    file: str,
    where: Where = HERE,
    why: bool = False,
    only: Collection[str] = (),
    take_over: bool = False,
) -> Proposal:
    """Plan, and compare with the kernel; without root, with what was last applied. Changes nothing.

    `why`: also the reason for each subnet: what was rejected, and who holds it. `only`: nothing but what
    those nodes have or need. `take_over`: even if the fabric was applied from another file.
    """
    topology, missing = as_far_as_they_are_here(topology, where, only)
    with opened_store(where) as store, opened_host(topology.name, where) as host:
        topology = joined(topology, networks_of(store))
        record, leases = store.record(topology.name), store.leases(topology.name)
        refuse_another(record, file, take_over)
        last = last_applied(store, topology.name, KINDS)
        facts = _facts(topology, host, store, leases, last, where, _nodes(topology, only, record))
        proposed = _planned(topology, leases, facts, where, only, record)
        proposed = with_renames(proposed, record, summary_of(topology, proposed, record))
        proposed = proposed._replace(warnings=(*proposed.warnings, *missing))
        live = os.geteuid() == 0
        observed = host.observe(topology.name, (proposed.fabric, last)) if live else Observed(last, {})
        wanted = with_part(proposed, observed.own)
        changes = engine.changes_for(wanted if live else wanted.public(), observed)
        if live:
            hindered = (error.message for error in host.foreign_drops(wanted.values()))
            proposed = proposed._replace(warnings=(*proposed.warnings, *hindered))
        keys = (lease.key for lease in leases)
        told = tuple(reasons(topology, proposed.layout.prefixes, facts, keys)) if why else ()
        return Proposal(topology, proposed, changes, live, wanted, observed.own, told)


def claim(
    topology: Topology,
    host: LocalHost,
    store: Store,
    where: Where,
    only: Collection[str],
    record: Record | None,
    last: Fabric,
) -> Plan:
    """Plan, and claim the leases; plan again if another process was first.

    Guests are read in the background meanwhile. `last`: the fabric as it was last applied.
    """
    for attempt in range(ATTEMPTS):
        leases = store.leases(topology.name)
        nodes = _nodes(topology, only, record)
        facts = _facts(topology, host, store, leases, last, where, nodes)
        if facts.guests and not only:
            attached = (node for node in topology.nodes.values() if node.attach)
            host.read_ahead(guests=[guest_of(topology.name, node, facts) for node in attached])
        proposed = _planned(topology, leases, facts, where, only, record)
        try:
            store.claim(topology.name, proposed.claims)
        except LeaseConflict:
            if attempt == ATTEMPTS - 1:
                raise
        else:
            return proposed
    raise AssertionError("unreachable")


def _planned(
    topology: Topology,
    leases: frozenset[Lease],
    facts: Facts,
    where: Where,
    only: Collection[str],
    record: Record | None,
) -> Plan:
    proposed = plan_topology(topology, leases, facts, where.run)
    if not only:
        return proposed
    from netfab.plan.part import nodes_of, part_of
    from netfab.plan.part_kept import NOTHING, beside, taken

    there = json.loads(record.summary) if record else NOTHING
    nodes = nodes_of(topology, only, there["nodes"])
    if (besides := beside(facts, proposed.layout, leases, nodes, there)) != facts:
        proposed = plan_topology(topology, leases, besides, where.run)
    part = part_of(topology, proposed, only, there["nodes"])
    raise_all(taken(topology, part, there))
    return part


def _nodes(topology: Topology, only: Collection[str], record: Record | None) -> Collection[str]:
    """The nodes that are planned for: all, or those of `only`."""
    if not only:
        return topology.nodes
    from netfab.plan.part import nodes_of

    return nodes_of(topology, only, _applied_nodes(record))


def _applied_nodes(record: Record | None) -> Collection[str]:
    nodes: Collection[str] = json.loads(record.summary)["nodes"] if record else ()
    return nodes


def summary_of(topology: Topology, proposed: Plan, record: Record | None) -> str:
    """The summary for the record; a part of a plan keeps what it says of other nodes."""
    chosen = summary(topology, proposed)
    if proposed.nodes is None:
        return json.dumps(chosen)
    from netfab.plan.part import summary_within

    return json.dumps(summary_within(proposed, chosen, json.loads(record.summary) if record else {}))


def commands_of(proposed: Plan, record: Record | None) -> str:
    """The commands for the record; a part of a plan keeps those of other nodes."""
    if proposed.nodes is None:
        return json.dumps(proposed.commands)
    from netfab.plan.part import commands_within

    return json.dumps(commands_within(proposed, json.loads(record.commands) if record else {}))


def with_part(proposed: Plan, there: Fabric) -> Fabric:
    """The desired fabric: a whole plan's, or `there` with a part of a plan merged in.

    Raises PlanError if an address of the part is also another node's.
    """
    if proposed.nodes is None:
        return proposed.fabric
    from netfab.plan.part import within

    return within(proposed, there)


def with_renames(proposed: Plan, record: Record | None, chosen: str) -> Plan:
    """The plan, with a warning for each interface that changes its name."""
    if record is None or record.summary == chosen:
        return proposed
    told = renamed(json.loads(record.summary)["nodes"], json.loads(chosen)["nodes"])
    return proposed._replace(warnings=(*proposed.warnings, *told))


def _facts(
    topology: Topology,
    host: LocalHost,
    store: Store,
    leases: frozenset[Lease],
    last: Fabric,
    where: Where,
    nodes: Collection[str],
) -> Facts:
    """The facts for planning these nodes. Raises NetfabError, for all guests that are not found."""
    facts, unfound = facts_of(asked_by(topology, nodes), host, store, leases, last, where)
    refuse_unfound(topology, unfound)
    return facts
