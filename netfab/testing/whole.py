"""A whole fabric, in its sandbox: apply, reconcile, status. Each call is its own process (broker.py).

A topology with hosts goes through across.py, any other through fabric.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from netfab import fabric as api
from netfab.hosts import simulated
from netfab.testing.inside import summary_of
from netfab.topology.checks import check_text
from netfab.topology.schema import Topology
from netfab.tuples import NamedTuple


class Applied(NamedTuple):
    """The result of an apply. `summary`: as in `status -o json`."""

    fabric: str
    summary: Mapping[str, Any]
    hosts: tuple[str, ...]
    checks: tuple[str, ...]


_hosts: list[int] = []  # descriptors that keep simulated hosts alive: this process's, opened before it forks


def apply(text: str, file: str, directory: str, environ: Mapping[str, str]) -> Applied:
    """Make the sandbox match the topology; its hosts, if it has any, are simulated. Raises NetfabError."""
    topology = _loaded(text, file, directory, environ)
    if topology.hosts:
        from netfab.hosts import simulation
        from netfab.multihost import across

        if not simulated.names():
            _hosts.extend(simulation.begin(topology))
        summary = across.apply(topology, across.hosts_of(topology), file).summary
    else:
        api.apply(topology, file)
        summary = summary_of(topology.name)
    checks = tuple(map(check_text, topology.checks))
    return Applied(topology.name, summary, tuple(topology.hosts), checks)


def shown(text: str, file: str, directory: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """The whole topology, as `netfab config` prints it, and its graph for mermaid."""
    from netfab.diagnose.graph import mermaid
    from netfab.topology.config import config

    topology = _loaded(text, file, directory, environ)
    return config(topology), mermaid(topology)


def plan(text: str, file: str, directory: str, environ: Mapping[str, str]) -> list[str]:
    """The changes `apply` would make, a line each."""
    from netfab.engine.diff import describe

    topology = _loaded(text, file, directory, environ)
    if topology.hosts:
        from netfab.multihost import across

        changes: Sequence[Mapping[str, Any]] = across.plan(topology, across.hosts_of(topology)).changes
    else:
        changes = describe(api.plan(topology, file).changes)
    return [f"{each['action']} {each['kind']} {each['name']}" for each in changes]


def _loaded(text: str, file: str, directory: str, environ: Mapping[str, str]) -> Topology:
    from netfab.files.loading import read

    return read(text.encode(), file, directory, environ)


def reconcile(fabric: str, hosts: Sequence[str]) -> None:
    """Restore everything as it was applied."""
    if hosts:
        from netfab.multihost import across

        if (entry := across.known(fabric)) is not None:
            across.reconcile(entry)
    else:
        api.reconcile(fabric)


def status(fabric: str, hosts: Sequence[str]) -> dict[str, Any]:
    """The status, as `netfab status -o json` prints it."""
    if hosts:
        from netfab.multihost import across

        entry = across.known(fabric)
        return across.status(entry) if entry is not None else {}
    return api.status(fabric)


def drift(fabric: str, hosts: Sequence[str]) -> list[str]:
    """Differences from what was applied, a line each."""
    from netfab.queries.status import described

    if hosts:
        from netfab.multihost import across

        entry = across.known(fabric)
        changes = across.drift(entry) if entry is not None else ()
        return [f"{each['host']}: {_changed(each)}" for each in changes]
    return [_changed(each) for each in described(fabric, api.drift(fabric))]


def _changed(change: Mapping[str, Any]) -> str:
    return f"{change['action']} {change['kind']} {change['name']} {change['why']}".rstrip()


def logs(fabric: str, hosts: Sequence[str]) -> dict[str, str]:
    """The output of nodes' programs, by node."""
    found: dict[str, list[str]] = {}
    for host in hosts or ("",):
        with simulated.inside(host) if host else nullcontext():
            running = [each["node"] for each in api.programs() if each["fabric"] == fabric]
            for node, line in api.logs([f"{fabric}/{node}" for node in running]):
                found.setdefault(node, []).append(line.decode(errors="replace").rstrip("\n"))
    return {node: "\n".join(lines) + "\n" for node, lines in found.items()}
