"""Starting: the help text, what `apply` imports, and a small fabric on a machine that has none yet."""

from __future__ import annotations

import re
from pathlib import Path

from frame import NETFAB, PYTHON, Row, Samples, at_most, fresh_machine, main, progress, run, topology

REPEATED = 4  # times the rounds: these commands take milliseconds
_SELF_TIME = re.compile(r"^import time: +(\d+) \|", re.MULTILINE)  # microseconds


def measure(directory: Path, rounds: int) -> list[Row]:
    """All that the table says of starting."""
    samples = Samples()
    small = topology(directory / "small.yaml", 3)
    for number in range(rounds * REPEATED):
        if number % REPEATED == 0:
            progress(f"startup: round {number // REPEATED + 1} of {rounds}")
        samples.add("python", run(PYTHON, "-c", "pass").seconds)
        samples.add("help", run(NETFAB, "--help").seconds)
        with fresh_machine():
            samples.add("small", run(NETFAB, "apply", small).seconds)
        with fresh_machine():
            samples.add("imports", imports(NETFAB, "apply", str(small)) - imports("-c", "pass"))
    detail = f"{samples.median('help') * 1000:.0f} of {samples.median('python') * 1000:.1f} ms"
    return [
        at_most("netfab --help against python -c pass", samples.ratio("help", "python"), 5, detail=detail),
        at_most("apply of 3 nodes on a bare machine", samples.median("small") * 1000, 150, " ms"),
        at_most("imports of apply", samples.median("imports"), 75, " ms"),
    ]


def imports(*arguments: str) -> float:
    """Milliseconds that a Python command spends on imports, by its own account."""
    output = run(PYTHON, "-X", "importtime", *arguments).output
    return sum(map(int, _SELF_TIME.findall(output))) / 1000


if __name__ == "__main__":
    main(measure, __doc__)
