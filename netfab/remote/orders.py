"""From plans to the order for each host, and to the controller's book entry."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from typing import Any

from netfab.hosts import simulated
from netfab.objects.base import Fabric
from netfab.plan import encryption
from netfab.plan.facts import Facts
from netfab.plan.leases import Lease
from netfab.plan.part import commands_within, leases_within, summary_within, within
from netfab.plan.part_kept import NOTHING
from netfab.plan.planner import Plan, summary
from netfab.remote.answers import Hello
from netfab.remote.transaction import Order
from netfab.store.book import Entry, source
from netfab.store.store import Record
from netfab.topology.schema import Topology
from netfab.tuples import NamedTuple
from netfab.where import applying_user

_HELD_ON = ("subnet", "address", "vni")  # what two fabrics can't hold at once
_OWN = ("publish", "borrowed", "inside")  # leases that belong to one host


class Planned(NamedTuple):
    """A plan for every host that was reached."""

    plans: Mapping[str, Plan]
    said: Mapping[str, Hello]  # what each host answered to hello
    warnings: tuple[str, ...]  # about hosts that were left out
    facts: Mapping[str, Facts]
    leases: frozenset[Lease]  # what the fabric held before
    there: Mapping[str, Fabric] = {}  # the fabric on each host, if only a part is planned
    kept: frozenset[Lease] = frozenset()  # former leases that stay held, even if unused


def desired_on(host: str, planned: Planned) -> Fabric:
    """The desired fabric of a host: its plan, or what is there with its part of a plan merged in."""
    made = planned.plans[host]
    return made.fabric if made.nodes is None else within(made, planned.there[host])


def _wants_on(host: str, planned: Planned) -> frozenset[Lease]:
    claims = leases_within(planned.plans[host], planned.said[host].leases)
    held = {(lease.kind, lease.key) for lease in claims}
    return claims | {lease for lease in planned.kept if lease.kind in _HELD_ON and lease[:2] not in held}


def last_of(said: Mapping[str, Hello]) -> Hello:
    """The answer of a host that took part in the last apply; of several, the first."""
    return max(said.values(), key=lambda answer: answer.generation)


def leases_of(said: Mapping[str, Hello], entry: Entry | None) -> frozenset[Lease]:
    """The fabric's leases, from a host that took part in its last apply; for key numbers, from all hosts.

    The highest key number counts: a host that lies about others' could otherwise get a key reused.
    """
    last = last_of(said) if said else None
    if entry is not None and (last is None or last.generation < entry.generation):
        found = entry.leases
    else:
        found = frozenset(lease for lease in (last.leases if last else ()) if lease.kind not in _OWN)
    everybody = chain(entry.leases if entry else (), *(answer.leases for answer in said.values()))
    return found.union(lease for lease in everybody if lease.kind == encryption.LEASE)


def entry_for(
    topology: Topology,
    file: str,
    hosts: Mapping[str, str],
    planned: Planned,
    entry: Entry | None,
    absent: Collection[str] = (),
) -> Entry:
    """The new entry of the book; for hosts that are `absent`, with what it had about them."""
    generation = max(entry.generation if entry else 0, *(said.generation for said in planned.said.values()))
    leases = {lease for host in planned.plans for lease in _wants_on(host, planned) if lease.kind not in _OWN}
    return Entry(
        topology.name,
        file,
        applying_user(),
        hosts,
        generation + 1,
        os.urandom(8).hex(),
        _with_absent(summary_of(topology, planned), entry.summary if entry else NOTHING, absent),
        frozenset(leases),
        store=str(topology.store or ""),
        home=os.uname().nodename,
    )


def _with_absent(
    chosen: Mapping[str, Any], there: Mapping[str, Any], hosts: Collection[str]
) -> dict[str, Any]:
    """The new summary, plus the nodes that are `there` on these hosts, and their networks."""
    nodes = {
        name: node
        for name, node in there["nodes"].items()
        if node["host"] in hosts and name not in chosen["nodes"]
    }
    on = {interface["network"] for node in nodes.values() for interface in node["interfaces"]}
    networks = {name: network for name, network in there["networks"].items() if name in on}
    ends = {f"{name}:{interface['name']}" for name, node in nodes.items() for interface in node["interfaces"]}
    links = [link for link in there.get("links", ()) if not ends.isdisjoint(link["endpoints"])]
    return {
        "networks": {**networks, **chosen["networks"]},
        "nodes": {**chosen["nodes"], **nodes},
        "links": [*chosen["links"], *(link for link in links if link not in chosen["links"])],
    }


def orders_for(
    topology: Topology,
    planned: Planned,
    entry: Entry,
    take_over: bool,
    cleared: Collection[str],
    confirm: float = 0.0,
) -> Iterator[tuple[str, Order]]:
    """The order for each host; hosts that the file no longer has get an empty fabric."""
    file = source(entry.file, entry.store, entry.home)
    for host, said in planned.said.items():
        made, empty = planned.plans.get(host), Fabric(topology.name)
        chosen = _summary_on(topology, host, planned) if made else {"networks": {}, "nodes": {}, "links": []}
        commands = commands_within(made, said.commands) if made else {}
        record = Record(topology.name, file, 0, empty.to_json(), json.dumps(chosen), json.dumps(commands))
        yield (
            host,
            Order(
                entry.transaction,
                host,
                said.generation,
                entry.generation,
                record,
                desired_on(host, planned) if made else empty,
                _wants_on(host, planned) if made else frozenset(),
                made.published if made else (),
                take_over or host in cleared,
                0.0,
                confirm,
                bool(entry.hosts.get(host)) and host not in simulated.names(),
            ),
        )


def _summary_on(topology: Topology, host: str, planned: Planned) -> Mapping[str, Any]:
    """The summary of a host's own nodes, and the networks that they are on."""
    made = planned.plans[host]
    here = {name: node for name, node in topology.nodes.items() if name in made.names}
    return summary_within(made, summary(topology._replace(nodes=here), made), planned.said[host].summary)


def summary_of(topology: Topology, planned: Planned) -> dict[str, Any]:
    """The summary of all hosts together; each node with its host."""
    together: dict[str, Any] = {"networks": {}, "nodes": {}, "links": []}
    for host in planned.plans:
        chosen = _summary_on(topology, host, planned)
        together["networks"] |= chosen["networks"]
        together["nodes"] |= {name: {**node, "host": host} for name, node in chosen["nodes"].items()}
        together["links"] += [link for link in chosen["links"] if link not in together["links"]]
    return together
