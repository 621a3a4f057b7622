"""What apply would do on each of several hosts: plans a topology for all, and has each compare.

across.py re-exports the public part, as fabric.py does for applying/proposal.py. Changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from netfab.applying.pulling import as_far_as_they_are_here
from netfab.errors import NetfabError
from netfab.files.saved_plans import Part
from netfab.multihost.each_host import refuse_home, with_hosts
from netfab.multihost.secret import secret_alone, secret_of
from netfab.objects.base import Fabric
from netfab.plan.placement import of_all
from netfab.plan.planner import Plan
from netfab.plan.prefixes import reasons
from netfab.plan.runs_on import place
from netfab.remote.answers import Changes, changes, read_all
from netfab.remote.orders import Planned, desired_on, summary_of
from netfab.remote.party import Connect, Party, connect, party
from netfab.remote.planning import planned, planned_alone, what_is_there
from netfab.store.book import Entry, Others
from netfab.topology.schema import Topology
from netfab.tuples import NamedTuple
from netfab.where import HERE, Where, known_entry, opened_book, shared_book


class Outcome(NamedTuple):
    """What was planned, and the changes."""

    summary: Mapping[str, Any]
    changes: Changes
    warnings: tuple[str, ...]
    plans: Mapping[str, Plan]
    reasons: tuple[str, ...] = ()
    parts: Mapping[str, Part] = {}  # by host, if the plan is to be saved


def known(name: str, where: Where = HERE) -> Entry | None:
    """What this controller knows of a fabric on other hosts."""
    return known_entry(name, where)


def plan(
    topology: Topology,
    hosts: Mapping[str, str],
    where: Where = HERE,
    *,
    why: bool = False,
    skip_unreachable: bool = False,
    only: Collection[str] = (),
    saving: bool = False,
    way: Connect = connect,
) -> Outcome:
    """What apply would change, on each host, including those that the file no longer has. Changes nothing.

    An unreachable one of the latter is only a warning. `why`: also the reason for each subnet: what was
    rejected, and who on which host holds it. `saving`: also what is to be saved; this creates the secret of
    encrypted networks.
    """
    entry, others = _known_by_all(topology, where)
    topology, missing = as_far_as_they_are_here(topology, where, only)
    before = entry.hosts if entry and not only else {}
    gone = {host: ssh for host, ssh in before.items() if host not in hosts}
    if entry is not None:
        refuse_home(entry, {**gone, **hosts})
    with party({**hosts, **gone}, where, way) as together:
        secret = secret_of(topology, where)
        made = planned(
            topology, together, hosts, entry, others, skip_unreachable, only, secret, gone, optional=gone
        )
        outcome = _compared(topology, together, made, why, missing)
        if not saving:
            return outcome
        if secret:
            opened_book(where).keep_secret(topology.name, secret)
        return outcome._replace(parts=parts_of(together, made))


def _known_by_all(topology: Topology, where: Where) -> tuple[Entry | None, Others]:
    """The fabric's entry, and what other fabrics hold."""
    if topology.store is None:
        return known(topology.name, where), Others()
    with shared_book(topology.store, where) as book:
        return book.entry(topology.name), book.others(topology.name)


def plan_alone(
    topology: Topology,
    host: str,
    where: Where = HERE,
    *,
    why: bool = False,
    saving: bool = False,
    way: Connect = connect,
) -> Outcome:
    """What apply_alone would change, and with `saving`, what is to be saved. Changes nothing."""
    refuse_alone(topology, host)
    topology, missing = as_far_as_they_are_here(topology, where, nodes_on(topology, host))
    with party({host: ""}, where, way) as together:
        made = planned_alone(topology, together, host, secret_alone(topology, where))
        outcome = _compared(topology, together, made, why, missing)
        return outcome._replace(parts=parts_of(together, made)) if saving else outcome


def _compared(
    topology: Topology, together: Party, made: Planned, why: bool, missing: Iterable[str]
) -> Outcome:
    empty = Fabric(topology.name)  # desired on hosts that the file no longer has
    desired = {host: desired_on(host, made) if host in made.plans else empty for host in made.said}
    said = together.ask_all({
        host: {"verb": "compare", "fabric": json.loads(wanted.to_json())} for host, wanted in desired.items()
    })  # fmt: skip
    outcome = outcome_of(topology, made, read_all(said, lambda answer: changes(answer["changes"])))
    outcome = outcome._replace(warnings=(*outcome.warnings, *missing))
    return outcome._replace(reasons=tuple(_reasons(topology, made))) if why else outcome


def _reasons(topology: Topology, made: Planned) -> Iterable[str]:
    layout = next(iter(made.plans.values())).layout
    facts = of_all(topology, made.facts) if topology.hosts else next(iter(made.facts.values()))
    return reasons(topology, layout.prefixes, facts, [lease.key for lease in made.leases])


def outcome_of(
    topology: Topology, made: Planned, changes: Mapping[str, Iterable[Mapping[str, Any]]]
) -> Outcome:
    """An Outcome of what was planned, and these changes by host."""
    told = (warning for plan in made.plans.values() for warning in plan.warnings)
    return Outcome(
        summary_of(topology, made),
        with_hosts(changes),
        (*made.warnings, *dict.fromkeys(told)),
        made.plans,
    )


def parts_of(together: Party, made: Planned, waiting: Collection[str] = ()) -> dict[str, Part]:
    """What is to be saved of a plan, by host."""
    there = what_is_there(together, made.plans, waiting)
    return {host: Part.of(plan, desired_on(host, made), there[host]) for host, plan in made.plans.items()}


def refuse_alone(topology: Topology, host: str) -> None:
    """Raises NetfabError if the file has no such host, or needs more than one machine asked."""
    if topology.store is not None:
        raise NetfabError(
            "--host asks no other host, and `store` requires it to",
            at=topology.at.of("store"),
            hint="apply without it; --skip-unreachable leaves out hosts that are down",
        )
    if host not in topology.hosts:
        named = ", ".join(topology.hosts)
        hint = f"its hosts are {named}" if named else "it names no hosts: leave --host out"
        raise NetfabError(f"this file has no host {host}", hint=hint)


def nodes_on(topology: Topology, host: str) -> list[str]:
    """The nodes that run on the host."""
    return [node for node, on in place(topology).nodes.items() if on == host]
