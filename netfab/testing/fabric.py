"""Fabric: a topology applied in a sandbox of its own, for a test."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from netfab.errors import NetfabError
from netfab.plan.underlay import NAME as UNDERLAY
from netfab.system.poll import readable
from netfab.testing import asked, inside, recorder, split, whole
from netfab.testing.descendants import ENDING
from netfab.testing.given import Given, given
from netfab.testing.inside import Place
from netfab.testing.line import Line
from netfab.testing.link import Link, Undo
from netfab.testing.node import Node, Verdict
from netfab.testing.programs import Program
from netfab.testing.sandboxes import Sandbox
from netfab.topology.suggest import did_you_mean


class Fabric:
    """An applied topology. `fabric["web"]` is a node."""

    def __init__(self, topology: Given, seed: int = 0, recorded: bool = False) -> None:
        """recorded: keep the traffic of its interfaces in case the test fails. Raises NetfabError."""
        __tracebackhide__ = True
        self.seed = seed
        self.programs: list[Program] = []
        self.timeline: list[tuple[float, str]] = []  # (seconds since the epoch, event)
        self.failures: list[Verdict] = []
        self.unanswered: dict[str, None] = {}  # checks that got no answer, in order, each once
        self._impaired: dict[tuple[str, str], Link] = {}  # links that may differ from what was applied
        self._given, self._recorded = topology, recorded
        self._serving: dict[Line, int] = {}  # lines to servers -> the servers' pidfds
        self._names: dict[str, Mapping[str, Sequence[str]]] = {}
        self._dirty = False
        self._begin()

    def _begin(self) -> None:
        __tracebackhide__ = True
        self._sandbox = Sandbox()
        try:
            self._apply()
            self.recorder = self._record() if self._recorded else None
        except BaseException:
            self._sandbox.close()
            raise

    def _apply(self) -> None:
        __tracebackhide__ = True
        text, file, directory = self._given
        self._applied = self._sandbox.call(whole.apply, text, file, directory, dict(os.environ))
        self._names.clear()
        self.note("applied")

    def _record(self) -> Line:
        line, _, _ = self._sandbox.talk(
            recorder.record, (), self._applied.fabric, self._applied.summary, self._applied.hosts
        )
        return line

    def close(self) -> None:
        """End it, and everything that runs in it."""
        for line in [*self._serving]:
            self._end(line)
        if self.recorder is not None:
            self.recorder.close()
        self._sandbox.close()

    def rebuild_when_used(self) -> None:
        """Rebuild it on its next use: a failed test may have left it in any state."""
        self._dirty = True

    @property
    def sandbox(self) -> Sandbox:
        """The sandbox that it is in."""
        self._renew()
        return self._sandbox

    def _renew(self) -> None:
        if self._dirty:
            self._dirty = False
            self.close()
            self.programs.clear()
            self.timeline.clear()
            self.failures.clear()
            self.unanswered.clear()
            self._impaired.clear()
            self._begin()

    def __repr__(self) -> str:
        return f"<fabric {self.name}>"

    @property
    def name(self) -> str:
        """The fabric's name, from its file."""
        return self._applied.fabric

    @property
    def hosts(self) -> tuple[str, ...]:
        """Its simulated hosts; empty if it is on a single host."""
        return self._applied.hosts

    @property
    def summary(self) -> Mapping[str, Any]:
        """What was planned, as in `netfab status -o json`."""
        return self._applied.summary

    def shown(self) -> tuple[str, str]:
        """The whole topology, as `netfab config` prints it, and its graph for mermaid."""
        return self.sandbox.call(whole.shown, *self._given, dict(os.environ))

    @property
    def nodes(self) -> dict[str, Node]:
        """All nodes, by name."""
        return {name: Node(self, name) for name in self.summary["nodes"]}

    def __getitem__(self, name: str) -> Node:
        __tracebackhide__ = True
        if name not in self.summary["nodes"]:
            nodes = self.summary["nodes"]
            hint = did_you_mean(name, nodes) or f"there are {', '.join(nodes)}"
            raise NetfabError(f"fabric {self.name} has no node {name}; {hint}")
        return Node(self, name)

    def place(self, node: str) -> Place:
        """Where a node is."""
        return Place(self.name, node, self[node].fabric.summary["nodes"][node].get("host", ""))

    def interface(self, node: str, to: str) -> str:
        """The node's interface on that network, or to that node. Raises NetfabError."""
        __tracebackhide__ = True
        found = self[node].fabric.summary["nodes"][node]["interfaces"]
        for each in found:
            if each["network"] == to or set(each["network"].split()) == {node, to}:
                return str(each["name"])
        known = ", ".join(each["network"] for each in found) or "none"
        raise NetfabError(f"{node} has no link to {to}; it is on {known}")

    def has(self, link: Link) -> bool:
        """Whether that cable still exists unchanged."""
        with suppress(NetfabError):
            return self.interface(link.node, link.to) == link.interface
        return False

    def link(self, node: str, to: str) -> Link:
        """A node's cable: on a network, or to another node."""
        __tracebackhide__ = True
        return Link(self, node, to)

    def names_in(self, node: str) -> Mapping[str, Sequence[str]]:
        """The host names that a node can resolve, and their addresses."""
        if node not in self._names:
            self._names[node] = self.sandbox.call(inside.names, self.place(node))
        return self._names[node]

    def serving(self, line: Line, process: int) -> Undo:
        """Register a server that lasts as long as its line; after the undo, its port is free."""
        self._serving[line] = process
        return Undo(lambda: self._end(line))

    def _end(self, line: Line) -> None:
        if (process := self._serving.pop(line, None)) is not None:
            line.close()
            readable([process], ENDING)
            os.close(process)

    def note(self, what: str) -> None:
        """Add an event to the timeline, which is shown if the test fails."""
        self.timeline.append((time.time(), what))

    def begins(self, test: str) -> None:
        """A test begins: in a shared fabric, failures and programs of earlier tests are not its own."""
        self.programs[:] = [program for program in self.programs if program.runs]
        self.failures.clear()
        self.unanswered.clear()
        self.note(f"test {test}")

    def apply(self, topology: str | Path | Mapping[str, Any]) -> None:
        """Make it match another topology, after undoing what was done to links.

        Raises NetfabError; the fabric then stays as it was last applied.
        """
        __tracebackhide__ = True
        self._renew()
        self._restore_links()
        before = self._given
        self._given = given(topology, Path(before.directory) / before.file)
        try:
            self._apply()
        except BaseException:
            self._given = before
            raise

    def plan(self, topology: str | Path | Mapping[str, Any]) -> list[str]:
        """The changes `apply` would make, a line each: `create veth eth0 of web`."""
        text, file, directory = given(topology, Path(self._given.directory) / self._given.file)
        return self.sandbox.call(whole.plan, text, file, directory, dict(os.environ))

    def check(self, *sentences: str) -> None:
        """Run these checks, or those of its file, concurrently: `web reaches db on tcp/5432 within 2s`.

        Raises AssertionError with those that fail, and why.
        """
        __tracebackhide__ = True
        verdicts = self._tried(sentences or self.checks)
        if wrong := [str(verdict) for verdict in verdicts if not verdict]:
            raise AssertionError("\n".join(wrong))

    def tried(self, sentence: str) -> Verdict:
        """The result of one check, a sentence as in `checks`."""
        __tracebackhide__ = True
        (verdict,) = self._tried([sentence])
        return verdict

    def _tried(self, sentences: Sequence[str]) -> list[Verdict]:
        __tracebackhide__ = True
        verdicts = self.verdicts(sentences)
        for verdict in verdicts:
            self.note(repr(verdict))
        self.failures += [verdict for verdict in verdicts if not verdict]
        return verdicts

    def verdicts(self, sentences: Sequence[str]) -> list[Verdict]:
        """The result of each; a failure is not recorded as the test's own."""
        __tracebackhide__ = True
        found = self.sandbox.call(asked.tried, self.name, sentences, self.hosts) if sentences else []
        return [
            Verdict(sentence, each.holds, each.why or each.reason)
            for sentence, each in zip(sentences, found, strict=True)
        ]

    @property
    def checks(self) -> tuple[str, ...]:
        """The checks of its file."""
        return self._applied.checks

    def why(self, source: Node | str, target: Node | str, port: str = "") -> str:
        """Whether one reaches the other, by which path, and the first thing that is wrong: `netfab why`."""
        __tracebackhide__ = True
        sentence = f"{source} reaches {target}" + f" on {port}" * bool(port)
        return self.sandbox.call(asked.why, self.name, sentence, self.hosts)

    def partition(self, *groups: Sequence[Node | str]) -> Undo:
        """Partition it at once: no node reaches one in another group; in a `with`, until its end.

        Nodes in no group, and the host that they run on, stay with the first. In a fabric over several
        simulated hosts, it is the hosts that are partitioned.
        """
        __tracebackhide__ = True
        parts = {str(each): number for number, group in enumerate(groups) for each in group}
        known = self.hosts or tuple(self.summary["nodes"])
        if strange := [each for each in parts if each not in known]:
            what = "hosts" if self.hosts else "nodes"
            raise NetfabError(f"can't split off {strange[0]}", hint=f"its {what} are {', '.join(known)}")
        self.note(f"partition: {' | '.join(', '.join(map(str, group)) for group in groups)}")
        self.sandbox.call(split.split, UNDERLAY if self.hosts else self.name, parts)
        return Undo(self.heal)

    def isolate(self, *nodes: Node | str) -> Undo:
        """Isolate each of these, as if its cables were pulled; in a `with`, until its end."""
        __tracebackhide__ = True
        names = [str(node) for node in nodes]
        rest = [each for each in self.hosts or self.summary["nodes"] if each not in names]
        return self.partition(rest, *([name] for name in names))

    def halves(self) -> Undo:
        """Partition it into two random halves, by the marker's seed: the same seed, the same halves."""
        everybody = sorted(self.hosts or self.summary["nodes"])
        random.Random(self.seed).shuffle(everybody)
        middle = len(everybody) // 2
        return self.partition(everybody[:middle], everybody[middle:])

    def heal(self) -> None:
        """Restore what was applied: join partitions, restore links, undo what programs changed."""
        if self.hosts:
            self.sandbox.call(split.mend, UNDERLAY)
        self.sandbox.call(whole.reconcile, self.name, self.hosts)
        self._restore_links()
        self.forget_the_silent()
        self.note("healed")

    def impair(self, link: Link, what: str) -> None:
        """Record what is about to be done to a link, for `heal` and `apply` to undo."""
        self._renew()
        self.note(f"link {link.node} - {link.to} {what}")
        self._impaired[link.node, link.to] = link

    def is_impaired(self, link: Link) -> bool:
        """Whether what was done to it has not been undone yet: by `heal`, `apply` or a rebuild."""
        return (link.node, link.to) in self._impaired

    def _restore_links(self) -> None:
        for link in self._impaired.values():
            link.restore()
        self._impaired.clear()

    def forget_the_silent(self) -> None:
        """Have nodes retry at once the neighbours that did not answer them."""
        self.sandbox.call(inside.forget_the_silent, [self.place(node) for node in self.nodes])
