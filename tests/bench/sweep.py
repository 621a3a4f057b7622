"""Deleting links: moved into a group and swept, against one RTM_DELLINK each, both by netfab's executor."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from frame import Row, Samples, at_least, compiled, fresh_machine, main, progress, run

from netfab.hosts.local import LocalHost
from netfab.objects.base import HOST, Name, Op
from netfab.objects.link import group_of
from netfab.objects.ops import DelLink

NODES = 100  # made
LINKS = 50  # deleted
GROUP = group_of("bench")


class Deletion(NamedTuple):
    """One change that only deletes a link of the C program's."""

    node: int

    def ops(self) -> list[Op]:
        return [DelLink(Name(HOST, f"v{self.node}"), GROUP)]


def measure(directory: Path, rounds: int) -> list[Row]:
    """All that the table says of deleting links."""
    floor = compiled(directory)
    samples = Samples()
    for number in range(rounds):
        progress(f"sweep: round {number + 1} of {rounds}")
        for name, phases in (("together", [range(LINKS)]), ("each", [[node] for node in range(LINKS)])):
            with fresh_machine():
                run(floor, "make", str(NODES), "1")
                samples.add(name, _deleting([[Deletion(node) for node in phase] for phase in phases]))
    return [
        at_least(
            f"sweep of {LINKS} links faster than one RTM_DELLINK each", samples.ratio("each", "together"), 10,
            detail=f"{samples.median('together') * 1000:.1f} ms against {samples.median('each') * 1000:.0f}",
        )
    ]  # fmt: skip


def _deleting(phases: list[list[Deletion]]) -> float:
    """Seconds to carry out these phases."""
    with LocalHost("bench") as host:
        host.dump()
        start = perf_counter()
        for phase in phases:
            assert not any(host.run(phase)), "the kernel refused a delete"  # type: ignore[arg-type]  # changes, as far as `run` looks
        return perf_counter() - start


if __name__ == "__main__":
    main(measure, __doc__)
