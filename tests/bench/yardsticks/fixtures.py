"""What a fixture of the plugin does, up and down, again and again, without pytest: fixtures.py NODES CYCLES.

Prints the seconds of each cycle, after a first one that starts the broker.
"""

from __future__ import annotations

import sys
from time import perf_counter

from netfab.testing.fabric import Fabric
from netfab.testing.given import Given


def main(nodes: int, cycles: int) -> None:
    text = f"networks: {{lan: {{}}}}\nnodes: {{n1..{nodes}: {{networks: [lan]}}}}\n"
    for number in range(cycles + 1):
        begun = perf_counter()
        Fabric(Given(text, "bench.yaml", "/"), recorded=True).close()
        if number:
            print(perf_counter() - begun)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
