"""Making, leaving, changing and ending a fabric, as whole commands, beside programs that make the same.

Each round runs everything once, each subject on a fresh machine and a quiet kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from frame import (
    NETFAB,
    PYTHON,
    YARDSTICKS,
    Row,
    Samples,
    at_least,
    at_most,
    compiled,
    fresh_machine,
    links,
    main,
    progress,
    run,
    topology,
)

NODES = 1000
MANY, NETWORKS = 5000, 5  # a bridge holds 1,023 ports
REMOVED = 50
MEGABYTE = 1_000_000
SLOW = {
    "a shell of ip": ("sh", YARDSTICKS / "ip.sh", str(NODES)),
    "ip -batch": ("sh", YARDSTICKS / "ip_batch.sh", str(NODES)),
    "pyroute2 call by call": (PYTHON, YARDSTICKS / "pyroute2_calls.py", str(NODES)),
}
SLOW_BARS = {"a shell of ip": 15, "ip -batch": 5, "pyroute2 call by call": 2}


def measure(directory: Path, rounds: int) -> list[Row]:
    """All that the table says of apply and destroy."""
    floor = compiled(directory)
    samples = Samples()
    for number in range(rounds):
        progress(f"apply: round {number + 1} of {rounds}")
        _fabric(directory, samples)
        _floor(floor, samples, NODES, 1)
        _many(directory, samples)
        _floor(floor, samples, MANY, NETWORKS)
        _slow(samples)
    return list(_rows(samples))


def _fabric(directory: Path, samples: Samples) -> None:
    whole = topology(directory / "whole.yaml", NODES)
    part = topology(directory / "part.yaml", NODES, without=REMOVED)
    with fresh_machine():
        made = run(NETFAB, "apply", whole)
        samples.add("apply", made.seconds)
        samples.add("cpu", made.cpu)
        samples.add("peak", made.peak)
        samples.add("no-op", run(NETFAB, "apply", whole).seconds)
        samples.add("removal", run(NETFAB, "apply", "--take-over", part).seconds)
        run(NETFAB, "apply", "--take-over", whole)
        samples.add("destroy", run(NETFAB, "destroy", "bench").seconds)
        assert not links(), "destroy returned before the last link was gone"


def _floor(floor: Path, samples: Samples, nodes: int, bridges: int) -> None:
    with fresh_machine():
        samples.add(f"C make {nodes}", run(floor, "make", str(nodes), str(bridges)).seconds)
        samples.add(f"C drop {nodes}", run(floor, "drop", str(nodes)).seconds)
        assert not links(), "the C program returned before the last link was gone"


def _many(directory: Path, samples: Samples) -> None:
    file = topology(directory / "many.yaml", MANY, NETWORKS)
    with fresh_machine():
        made = run(NETFAB, "apply", file)
        samples.add("apply many", made.seconds)
        samples.add("peak many", made.peak)
        run(NETFAB, "destroy", "bench")


def _slow(samples: Samples) -> None:
    for name, command in SLOW.items():
        with fresh_machine():
            samples.add(name, run(*command).seconds)


def _rows(samples: Samples) -> Iterator[Row]:
    made, dropped = (samples.median(f"C {verb} {NODES}") * 1000 for verb in ("make", "drop"))
    taken, busy, ended = (samples.median(name) * 1000 for name in ("apply", "cpu", "destroy"))
    yield at_most(
        f"apply of {NODES} endpoints against C", samples.ratio("apply", f"C make {NODES}"), 1.5,
        detail=f"{taken:.0f} ms, {busy:.0f} of them CPU; C {made:.0f} ms",
    )  # fmt: skip
    for name, bar in SLOW_BARS.items():
        yield at_least(
            f"the same faster than {name}", samples.ratio(name, "apply"), bar,
            detail=f"{samples.median(name):.1f} s",
        )  # fmt: skip
    yield at_most(
        f"apply that changes nothing, {NODES} nodes, against making them in C",
        samples.ratio("no-op", f"C make {NODES}"), 0.30, detail=f"{samples.median('no-op') * 1000:.0f} ms",
    )  # fmt: skip
    yield at_most(
        f"destroy of {NODES} until no link is left, against C",
        samples.ratio("destroy", f"C drop {NODES}"), 0.9,
        detail=f"{ended:.0f} ms; C {dropped:.0f} ms",
    )  # fmt: skip
    for removal, nothing, floor in zip(
        samples["removal"], samples["no-op"], samples[f"C make {NODES}"], strict=True
    ):
        samples.add("removal beyond the no-op", (removal - nothing) / floor)
    yield at_most(
        f"removing {REMOVED} of {NODES} nodes: beyond the no-op, against making {NODES} in C",
        samples.median("removal beyond the no-op"), 0.15, detail=f"{samples.median('removal') * 1000:.0f} ms",
    )  # fmt: skip
    for many, one, floor_many, floor_one in zip(
        samples["apply many"], samples["apply"], samples[f"C make {MANY}"], samples[f"C make {NODES}"],
        strict=True,
    ):  # fmt: skip
        samples.add("growth", (many / one) / (floor_many / floor_one))
    yield at_most(
        f"growth per endpoint from {NODES} to {MANY}, C's own taken out", samples.median("growth"), 1.2,
        detail=f"{samples.median('apply many'):.2f} s; C {samples.median(f'C make {MANY}'):.2f} s",
    )  # fmt: skip
    yield at_most(f"peak memory, {NODES} nodes", samples.median("peak") / MEGABYTE, 60, " MB")
    yield at_most(f"peak memory, {MANY} nodes", samples.median("peak many") / MEGABYTE, 130, " MB")


if __name__ == "__main__":
    main(measure, __doc__)
