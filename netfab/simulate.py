"""A topology with `hosts`, in a sandbox: each of them is a simulated host, and has its part applied there.

The part is applied as on any host: planned together, by the facts of all, and made by engine.apply.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from netfab.engine import apply as engine
from netfab.hosts import simulated
from netfab.hosts.local import LocalHost
from netfab.nodes import run_commands
from netfab.plan.facts import Facts, Lease, asked_by
from netfab.plan.placement import plan_hosts
from netfab.plan.planner import Plan
from netfab.plan.runs_on import place
from netfab.plan.underlay import NAME, underlay_of
from netfab.proposal import commands_of, facts_of, summary_of
from netfab.store.public import publish
from netfab.store.store import Record
from netfab.topology.schema import Topology
from netfab.visits import refuse_unfound
from netfab.where import Where, applying_user, locked_fabric, opened_host, opened_store


def begin(topology: Topology) -> list[int]:
    """Make the topology's hosts, and what joins them. They last until these descriptors are closed.

    Raises NetfabError.
    """
    with LocalHost(NAME) as host:
        engine.apply(underlay_of(topology), host)
    return [simulated.begin(name) for name in topology.hosts]


def apply(topology: Topology, file: str, where: Where) -> Mapping[str, Plan]:
    """Plan for all hosts, which were begun, and make each match. Raises NetfabError."""
    facts: dict[str, Facts] = {}
    leases: set[Lease] = set()
    placement = place(topology)
    for name in topology.hosts:
        nodes = [node for node, there in placement.nodes.items() if there == name]
        with simulated.inside(name), opened_store(where) as store, opened_host(topology.name, where) as host:
            own = store.leases(topology.name)
            leases |= own
            facts[name], unfound = facts_of(asked_by(topology, nodes), host, store, own, where)
            refuse_unfound(topology, unfound)
    plans = plan_hosts(topology, leases, facts, where.run)
    for name, plan in plans.items():
        with simulated.inside(name):
            _apply_part(topology, plan, file, where)
    return plans


def _apply_part(topology: Topology, plan: Plan, file: str, where: Where) -> None:
    name = topology.name
    with locked_fabric(name, where), opened_store(where) as store, opened_host(name, where) as host:
        record = Record(
            name,
            file,
            applying_user(),
            plan.fabric.to_json(),
            summary_of(topology, plan, None),
            commands_of(plan, None),
        )
        store.claim(name, plan.wants)
        applied = engine.apply(plan.fabric, host, progress=where.progress)
        run_commands(record, applied.changes, where)
        store.commit(record, plan.wants)
        publish(where.run, record, plan.wants)
        host.wait_ready(plan.fabric)


def enter_host_of(node: str, where: Where) -> None:
    """This process in the simulated host that has that node (or FABRIC/NODE), if one has."""
    fabric, _, name = node.rpartition("/")
    for host in sorted(simulated.names()):
        with simulated.inside(host), opened_store(where) as store:
            records = [record for record in store.records() if fabric in ("", record.name)]
        if any(name in json.loads(record.summary)["nodes"] for record in records):
            simulated.enter(host)
            return
