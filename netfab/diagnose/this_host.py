"""What can be asked of a fabric on this host, to find out why a packet does not arrive. Only reads.

Plain data goes in and out: of other hosts, their agents are asked the same.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import ip_address
from typing import Any

from netfab.diagnose.checks import tried
from netfab.diagnose.finding import HOST
from netfab.diagnose.trials import SILENT, Trial, Verdict, names_in
from netfab.engine.diff import diff
from netfab.errors import NetfabError
from netfab.facts.guests import as_they_are_now
from netfab.kernel import view as kernel
from netfab.kernel.echo import passes
from netfab.kernel.trace import Dropped, Match, tracing
from netfab.nodes.by_name import THE_HOST, opened_namespace
from netfab.objects.address import Address
from netfab.objects.base import HOST as HOST_SPACE
from netfab.objects.base import Fabric, node_of
from netfab.objects.kinds import KINDS
from netfab.objects.port import Port
from netfab.objects.veth import Veth
from netfab.objects.view import Program, Space, View, Way
from netfab.objects.vxlan import Vxlan
from netfab.runtime.paths import Paths
from netfab.system import linux
from netfab.tuples import NamedTuple
from netfab.where import HERE, Where, known_record, need_root, opened_host, read_store

_TRACED = 2.0  # seconds in which a dropped packet shows up


class Here(NamedTuple):
    """A fabric on this host, to be queried. Another host's agent has the same methods.

    beside: another fabric on this host, or "". Its nodes are called FABRIC/NODE.
    """

    fabric: str
    where: Where = HERE
    beside: str = ""

    def look(self) -> View:
        """The fabric's state. Raises NetfabError if it does not exist."""
        own = self._look()
        return _both(own, self.beside, Here(self.beside, self.where)._look()) if self.beside else own

    def _look(self) -> View:
        from netfab.queries.status import described
        from netfab.runtime.status import status as containers

        need_root("why")
        fabric, where, _ = self
        with read_store(where) as store, opened_host(fabric, where) as host:
            record = known_record(store, fabric, where)
            wanted = as_they_are_now(Fabric.from_json(record.desired, KINDS), where)
            present = host.observe(fabric, (wanted,)).own
            changes = described(fabric, diff(host.as_left(wanted), present), where)
        nodes = json.loads(record.summary)["nodes"]
        programs = containers(Paths(fabric, where.run, where.state))
        vxlans = {thing.end.link: thing for thing in wanted.values() if type(thing) is Vxlan}
        return View(
            spaces=dict(self._spaces(nodes)),
            names={name: names for name, node in nodes.items() if (names := _names(node)) is not None},
            programs={name: Program(one.state, one.exit_code) for name, one in programs.items()},
            drift=tuple(
                f"{each['kind']} {each['name']}: {each['why'] or each['action']}" for each in changes
            ),
            owners={
                str(thing.address): (_node(thing.link.space), thing.link.text)
                for thing in wanted.values()
                if type(thing) is Address
            },
            cables=tuple(
                (_node(thing.a.link.space), thing.a.link.text, _node(thing.b.link.space), thing.b.link.text)
                for thing in wanted.values()
                if type(thing) is Veth
            ),
            tunnels={
                thing.bridge.text: thing.link.text
                for thing in wanted.values()
                if type(thing) is Port and thing.link in vxlans
            },
            vtep=next((str(vxlan.local) for vxlan in vxlans.values()), ""),
        )

    def _spaces(self, nodes: Mapping[str, Any]) -> Iterator[tuple[str, Space]]:
        for name in (HOST, *nodes):
            with suppress(NetfabError), self._inside(name, nodes):
                yield name, kernel.read()

    def way(self, node: str, target: str, source: str, incoming: int) -> Way:
        """How the kernel there routes a packet; `incoming`: the link on which it arrived, or 0."""
        with self._inside(node):
            return kernel.way(ip_address(target), ip_address(source) if source else None, incoming)

    def tried(self, trial: Trial) -> Verdict:
        """The verdict on a trial."""
        alone = trial._replace(receiver="") if "/" in trial.receiver else trial
        (verdict,) = tried(self.fabric, [alone], self.where)
        return verdict

    def passes(self, node: str, address: str, size: int) -> bool:
        """Whether a packet of that many bytes passes from a node to an address, and one back."""
        with self._inside(node):
            return passes(ip_address(address), size, SILENT)

    def dropped(
        self, nodes: Mapping[str, Sequence[str]], matches: Sequence[Match], trial: Trial
    ) -> list[tuple[str, str, Dropped]]:
        """A rule that drops what matches while that is tried: host, node, and rule.

        nodes: this host's, by its name.
        """
        ((host, several),) = nodes.items()
        with self.traced(several, matches) as ends:
            deadline = time.monotonic() + _TRACED
            while not ends() and time.monotonic() < deadline:
                self.tried(trial)
            return [(host, node, end) for node, end in ends()]

    @contextmanager
    def traced(
        self, nodes: Sequence[str], matches: Sequence[Match]
    ) -> Iterator[Callable[[], list[tuple[str, Dropped]]]]:
        """Whether, from now on, a rule in one of these nodes drops what matches; which (kernel/trace.py)."""
        with ExitStack() as stack:
            tracers = []
            for node in nodes:
                with self._inside(node):
                    tracers.append((node, stack.enter_context(tracing(matches))))
            yield lambda: [(node, end) for node, tracer in tracers for end in tracer.dropped()]

    @contextmanager
    def _inside(self, node: str, nodes: Mapping[str, Any] | None = None) -> Iterator[None]:
        """Move this thread into the node's network namespace."""
        other, _, node = node.rpartition("/")
        fabric = other or self.fabric
        if nodes is None:
            with read_store(self.where) as store:
                nodes = json.loads(known_record(store, fabric, self.where).summary)["nodes"]
        netns = opened_namespace(fabric, node, nodes[node] if node else THE_HOST, self.where)
        try:
            with linux.in_network(netns):
                yield
        finally:
            os.close(netns)


def _both(own: View, fabric: str, other: View) -> View:
    """Two fabrics on a host as one view; the other's nodes are called FABRIC/NODE."""

    def called(node: str) -> str:
        return node and f"{fabric}/{node}"

    return own._replace(
        spaces={**{called(node): space for node, space in other.spaces.items()}, **own.spaces},
        programs={**own.programs, **{called(node): program for node, program in other.programs.items()}},
        owners={**{at: (called(node), link) for at, (node, link) in other.owners.items()}, **own.owners},
        cables=(
            *own.cables,
            *((called(one), first, called(two), second) for one, first, two, second in other.cables),
        ),
        tunnels={**other.tunnels, **own.tunnels},
    )


def _node(space: str) -> str:
    return HOST if space == HOST_SPACE else node_of(space)


def _names(node: Mapping[str, Any]) -> dict[str, tuple[str, ...]] | None:
    """The names in its hosts file; empty if that is gone."""
    if not node["hosts"]:
        return {}
    with suppress(OSError), open(node["hosts"], encoding="utf-8", errors="replace") as file:
        return names_in(file.read())
    return None
