"""A plan for every host that answers, from the facts that each reports."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

from netfab.errors import NetfabError, raise_all
from netfab.facts import shared_bridges
from netfab.facts.guests import refuse_unfound
from netfab.objects.base import Fabric
from netfab.plan import uplinks
from netfab.plan.facts import Asked, Facts, asked_by
from netfab.plan.part import nodes_of, part_of
from netfab.plan.part_kept import NOTHING, beside, beside_absent, taken
from netfab.plan.placement import plan_hosts
from netfab.plan.planner import Plan
from netfab.plan.planner import plan as plan_for_one
from netfab.plan.runs_on import place
from netfab.plan.subnets import Reservation
from netfab.remote.alone import facts_of_others, undetermined
from netfab.remote.answers import Hello, fabric, read_all
from netfab.remote.meeting import forgotten, greeted, tell_what_was_decided
from netfab.remote.messages import understood
from netfab.remote.orders import Planned, leases_of
from netfab.remote.party import Party
from netfab.store.book import Entry, Others
from netfab.topology.schema import Topology


def planned(
    topology: Topology,
    together: Party,
    hosts: Collection[str],
    entry: Entry | None,
    others: Others,
    skip_unreachable: bool = False,
    only: Collection[str] = (),
    secret: bytes = b"",
    gone: Collection[str] = (),
    forget: Collection[str] = (),
    optional: Collection[str] = (),
) -> Planned:
    """Greet every host, and plan for those that answer; `only` some nodes.

    `others`: held besides what hosts know; `secret`: for encrypted networks; `gone`: hosts that the file
    no longer has; `forget`: those of them that may be unreachable; `optional`: may be left out. Raises
    NetfabError.
    """
    applied = entry.summary if entry else NOTHING
    asked = _asked(topology, hosts, nodes_of(topology, only, applied["nodes"]) if only else topology.nodes)
    skipped = () if skip_unreachable or len(hosts) == 1 else hosts
    spared = {*forget, *optional}
    said = greeted(together, topology.name, asked, skip_unreachable, gone, spared, skipped)
    absent = [host for host in (*hosts, *gone) if host not in said]
    out = tuple(
        forgotten(host, topology.name) if host in forget else _left_out(host, host in gone) for host in absent
    )
    said = tell_what_was_decided(together, topology.name, said)
    there = {host: said[host] for host in hosts if host in said}
    for answer in there.values():
        _refuse_unfound(topology, answer)
    facts = {host: _with_others(answer.facts, others) for host, answer in there.items()}
    if any(own.esp is not None and own.esp.counted for own in facts.values()):
        again = greeted(together, topology.name, asked, skip_unreachable, gone, spared)
        facts = _received_before_sent(facts, again)
    leases = leases_of(said, entry)
    runs = {host: answer.run for host, answer in there.items()}
    if not topology.hosts:
        (host,) = facts
        with understood(host):
            topology = shared_bridges.joined(topology, said[host].networks)

    def plans_by(facts: Mapping[str, Facts]) -> Mapping[str, Plan]:
        if topology.hosts:
            return plan_hosts(topology, leases, facts, runs, secret)
        return {host: plan_for_one(topology, leases, own, runs[host]) for host, own in facts.items()}

    plans = plans_by(facts)
    if not only:
        going_on = [host for host in absent if host not in forget]
        besides = {
            host: beside_absent(own, plans[host].layout, leases, topology.nodes.keys(), going_on)
            for host, own in (facts.items() if going_on else ())
        }
        plans = plans if besides in ({}, facts) else plans_by(besides)
        return Planned(plans, said, out, facts, leases, kept=leases if going_on else frozenset())
    nodes = nodes_of(topology, only, applied["nodes"])
    besides = {host: beside(own, plans[host].layout, leases, nodes, applied) for host, own in facts.items()}
    plans = plans if besides == facts else plans_by(besides)
    parts = {host: part_of(topology, plan, only, applied["nodes"]) for host, plan in plans.items()}
    raise_all(error for part in parts.values() for error in taken(topology, part, applied))
    return Planned(parts, said, out, facts, leases, what_is_there(together, parts))


def _left_out(host: str, gone: bool) -> str:
    if gone:
        return (
            f"{host}, which the file no longer has, was left out: it is not reached, and keeps what it has;"
            f" `--forget {host}` where it never comes back"
        )
    return f"{host} was left out: it is not reached"


def _refuse_unfound(topology: Topology, answer: Hello) -> None:
    told = answer.unfound.items()
    refuse_unfound(topology, {word: NetfabError(message, hint=hint) for word, (message, hint) in told})


def _with_others(facts: Facts, others: Others) -> Facts:
    """A host's facts, plus what is held elsewhere."""
    known = {reservation.prefix for reservation in facts.reservations}
    held = tuple(
        Reservation(subnet.prefix, f"network {subnet.network} of fabric {subnet.fabric}")
        for subnet in others.subnets
        if subnet.prefix not in known
    )
    vnis = tuple((vni, f"fabric {fabric}'s") for vni, fabric in others.vnis.items())
    return facts._replace(reservations=held + facts.reservations, vnis=(*facts.vnis, *vnis))


def what_is_there(
    together: Party, plans: Mapping[str, Plan], waiting: Collection[str] = ()
) -> dict[str, Fabric]:
    """The observed fabric on each host. `waiting`: hosts that hold a lock meanwhile."""
    questions = {
        host: {"verb": "observe", "fabric": json.loads(made.fabric.to_json())} for host, made in plans.items()
    }
    said = together.ask_all(questions, waiting)
    return read_all(said, lambda answer: fabric(answer["fabric"]))


def _received_before_sent(facts: Mapping[str, Facts], said: Mapping[str, Hello]) -> dict[str, Facts]:
    """The facts, with send counters re-read now: they include all that had been received before."""
    found = {}
    for host, own in facts.items():
        now = said[host].facts.esp if host in said else None
        if own.esp is not None and now is not None:
            counted = {
                name: (now.counted[name][0], received)
                for name, (_, received) in own.esp.counted.items()
                if name in now.counted
            }
            own = own._replace(esp=own.esp._replace(counted=counted))
        found[host] = own
    return found


def planned_alone(topology: Topology, together: Party, host: str, secret: bytes = b"") -> Planned:
    """Greet that host alone, and plan for it. Raises NetfabError if others would have to be asked."""
    said = greeted(together, topology.name, _asked(topology, [host], topology.nodes))
    _refuse_unfound(topology, said[host])
    facts, leases, applied = said[host].facts, leases_of(said, None), said[host].mtus
    others = facts_of_others(topology, host, leases, applied)
    runs = dict.fromkeys((host, *others), said[host].run)
    plan = plan_hosts(topology, leases, {host: facts, **others}, runs, secret)[host]
    raise_all(undetermined(topology, host, plan, leases, applied))
    return Planned({host: plan}, said, (), {host: facts}, leases)


def _asked(topology: Topology, hosts: Collection[str], nodes: Collection[str]) -> dict[str, Asked]:
    """The guests and NICs that each host is to report: those of its own nodes among these."""
    if not topology.hosts:
        return dict.fromkeys(hosts, asked_by(topology, nodes))
    placement = place(topology)
    named = uplinks.by_host(topology, placement.segments)
    return {
        host: asked_by(
            uplinks.seen_from(host, named),
            [node for node, where in placement.nodes.items() if where == host and node in nodes],
        )
        for host in hosts
    }
