"""Planning and validating: work of the processor alone."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path
from time import process_time

from frame import NETFAB, Row, Samples, at_most, main, progress, run, topology

from netfab.errors import Location
from netfab.plan.facts import Device, Facts
from netfab.plan.placement import plan_hosts
from netfab.plan.subnets import Reservation, Space
from netfab.topology.load import load
from netfab.topology.schema import Pool, Topology

FEW, MANY = 10_000, 100_000
NODES, NETWORKS = 10_000, 10


def measure(directory: Path, rounds: int) -> list[Row]:
    """All that the table says of planning."""
    samples = Samples()
    file = topology(directory / "large.yaml", NODES, NETWORKS)
    large, small = on_hosts(50, 20), on_hosts(3, 10)
    for number in range(rounds):
        progress(f"planning: round {number + 1} of {rounds}")
        samples.add("few", planning(FEW))
        samples.add("many", planning(MANY))
        samples.add("validate", run(NETFAB, "validate", file).seconds)
        samples.add("large", planning_hosts(large))
        samples.add("small", planning_hosts(small))
    growth = samples.ratio("many", "few") * FEW / MANY
    return [
        at_most(
            f"planning {FEW} subnets against {FEW} reservations",
            samples.median("few") * 1000,
            25,
            " ms of CPU",
        ),
        at_most(
            f"the same with {MANY}: growth per subnet",
            growth,
            1.2,
            detail=f"{samples.median('many') * 1000:.0f} ms",
        ),
        at_most("planning 50 hosts of 20 nodes", samples.median("large") * 1000, 1000, " ms of CPU"),
        at_most("planning 3 hosts of 10 nodes", samples.median("small") * 1000, 8, " ms of CPU"),
        at_most(f"validating a file of {NODES} nodes", samples.median("validate"), 0.6, " s"),
    ]


def planning(subnets: int) -> float:
    """CPU seconds for that many /28s in a pool in which every other one of twice as many is held."""
    taken = [Reservation(IPv4Network((0x0A000000 + 32 * held, 28)), "bench") for held in range(subnets)]
    pools = [Pool(IPv4Network("10.0.0.0/8"), 28, Location("", 0, 0, ""))]
    with cpu_time() as spent:
        space = Space(4, pools, taken)
        for _ in range(subnets):
            space.take(28, "bench")
    return spent[0]


def on_hosts(hosts: int, nodes: int) -> Topology:
    """One network of that many nodes with a program on each of that many hosts."""
    lines = ["name: bench", "hosts:"]
    lines += [f"  h{number}: {{address: 192.0.2.{number}}}" for number in range(1, hosts + 1)]
    lines += ["networks: {lan: {}}", "nodes:"]
    lines += [
        f"  n{number}x1..{nodes}: {{networks: [lan], runs_on: h{number}, command: [sleep, inf]}}"
        for number in range(1, hosts + 1)
    ]
    return load("\n".join(lines).encode(), "bench.yaml", "/", {}, None)


def planning_hosts(topology: Topology) -> float:
    """CPU seconds for the plans of all its hosts."""
    facts = {
        host.name: Facts(devices=(Device("eth0", 1500, (host.address,)),))
        for host in topology.hosts.values()
        if host.address
    }
    with cpu_time() as spent:
        plan_hosts(topology, (), facts, dict.fromkeys(facts, "/run/netfab"))
    return spent[0]


@contextmanager
def cpu_time() -> Iterator[list[float]]:
    """Seconds that the block took, in the list after it; no garbage is collected, as in the command."""
    spent: list[float] = []
    gc.collect()
    gc.disable()
    start = process_time()
    yield spent
    spent.append(process_time() - start)
    gc.enable()


if __name__ == "__main__":
    main(measure, __doc__)
