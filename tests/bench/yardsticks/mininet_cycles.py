"""What mininet does for hosts on a Linux bridge, up and down, again and again: mininet_cycles.py NODES N.

For the system's Python, which Debian's mininet is for. Prints the seconds of each cycle, after a first one.
"""

from __future__ import annotations

import sys
from time import perf_counter

from mininet.net import Mininet  # type: ignore[import-not-found]  # Debian's package
from mininet.nodelib import LinuxBridge  # type: ignore[import-not-found]  # Debian's package
from mininet.topo import SingleSwitchTopo  # type: ignore[import-not-found]  # Debian's package


def main(nodes: int, cycles: int) -> None:
    for number in range(cycles + 1):
        begun = perf_counter()
        net = Mininet(topo=SingleSwitchTopo(nodes), switch=LinuxBridge, controller=None, waitConnected=False)
        net.start()
        net.stop()
        if number:
            print(perf_counter() - begun)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
