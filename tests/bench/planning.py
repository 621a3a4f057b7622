"""Planning and validating: work of the processor alone."""

from __future__ import annotations

import gc
from ipaddress import IPv4Network
from pathlib import Path
from time import process_time

from frame import NETFAB, Row, Samples, at_most, main, progress, run, topology

from netfab.plan.subnets import Reservation, Space
from netfab.topology.schema import Pool

FEW, MANY = 10_000, 100_000
NODES, NETWORKS = 10_000, 10


def measure(directory: Path, rounds: int) -> list[Row]:
    """All that the table says of planning."""
    samples = Samples()
    file = topology(directory / "large.yaml", NODES, NETWORKS)
    for number in range(rounds):
        progress(f"planning: round {number + 1} of {rounds}")
        samples.add("few", planning(FEW))
        samples.add("many", planning(MANY))
        samples.add("validate", run(NETFAB, "validate", file).seconds)
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
        at_most(f"validating a file of {NODES} nodes", samples.median("validate"), 0.6, " s"),
    ]


def planning(subnets: int) -> float:
    """CPU seconds for that many /28s in a pool in which every other one of twice as many is held."""
    taken = [Reservation(IPv4Network((0x0A000000 + 32 * held, 28)), "bench") for held in range(subnets)]
    pools = [Pool(IPv4Network("10.0.0.0/8"), 28, None)]  # type: ignore[arg-type]  # written nowhere
    gc.collect()
    gc.disable()  # as the command does
    start = process_time()
    space = Space(4, pools, taken)
    for _ in range(subnets):
        space.take(28, "bench")
    seconds = process_time() - start
    gc.enable()
    return seconds


if __name__ == "__main__":
    main(measure, __doc__)
