"""Simulated hosts for tests: a topology applied to all of them, in the test's own sandbox."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from textwrap import dedent
from typing import TypeVar

from netfab import fabric
from netfab.hosts import simulated, simulation
from netfab.multihost import across
from netfab.plan.planner import Plan
from netfab.runtime.paths import RUN_DIRECTORY
from netfab.system import linux
from netfab.topology.load import load
from netfab.topology.schema import Topology

T = TypeVar("T")


class Hosts:
    """The hosts of a topology, and their nodes."""

    def __init__(self, text: str) -> None:
        """Begin the hosts of that file, and apply it."""
        topology = read(text)
        self._held = simulation.begin(topology)
        self.fabric = topology.name
        self.apply(text)

    def destroy(self) -> None:
        """The fabric on each host: what it runs in the background doesn't end with the host."""
        for host in simulated.names():
            with simulated.inside(host):
                if os.path.isdir(f"{RUN_DIRECTORY}/{self.fabric}"):
                    fabric.destroy(self.fabric)

    def close(self) -> None:
        """Let go of them."""
        for fd in self._held:
            os.close(fd)

    def apply(self, text: str) -> None:
        """Another file for the same hosts."""
        topology = read(text)
        outcome = across.apply(topology, across.hosts_of(topology), "lab.yaml")
        self.plans: Mapping[str, Plan] = outcome.plans
        self.changes = outcome.changes

    def run(self, host: str, *argv: str, check: bool = True) -> str:
        """A program on a host; what it says."""
        with simulated.inside(host):
            return _said(argv, check)

    def node(self, name: str, *argv: str, check: bool = True) -> str:
        """A program in a node."""
        with self.inside(name):
            return _said(argv, check)

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """This thread in a node."""
        with simulated.inside(self.host_of(name)):
            fd = os.open(f"/run/netns/{self.fabric}.{name}", os.O_RDONLY)
            linux.setns(fd, linux.CLONE_NEWNET)
            os.close(fd)
            yield

    def call(self, name: str, function: Callable[[], T]) -> T:
        """What a function returns in a node."""
        with self.inside(name):
            return function()

    def host_of(self, name: str) -> str:
        """Where a node runs."""
        return next(iter(self.plans.values())).layout.runs_on[name]

    def address(self, name: str) -> str:
        """The node's first address."""
        return str(self.plans[self.host_of(name)].layout.nics[name][0].addresses[0].ip)

    def plan(self, name: str) -> Plan:
        """The plan of the host where a node runs."""
        return self.plans[self.host_of(name)]


def read(text: str) -> Topology:
    return load(dedent(text).encode(), "lab.yaml", "/lab", {}, None)


def fleet(count: int, nodes_each: int = 1, network: str = "{}", more: str = "") -> str:
    """A file: one network over that many hosts, with nodes n1, n2 … dealt to them in turn."""
    hosts = ", ".join(f"h{n}: {{address: 192.0.2.{n}}}" for n in range(1, count + 1))
    dealt = ", ".join(f"h{n}" for n in range(1, count + 1))
    return f"""
        name: lab
        hosts: {{{hosts}}}
        networks: {{lan: {network}}}
        nodes:
          n1..{count * nodes_each}: {{networks: [lan], runs_on: [{dealt}]}}
          {more}
    """


def _said(argv: tuple[str, ...], check: bool) -> str:
    ran = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert not check or ran.returncode == 0, f"{' '.join(argv)}: {ran.stdout}{ran.stderr}"
    return ran.stdout
