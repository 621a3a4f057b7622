"""Lending a NIC to a bridge and taking it back: what pings every 10 ms, both ways and families, miss."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from time import sleep

from frame import HERE, NETFAB, Row, at_most, fresh_machine, main, progress, run

sys.path.append(str(HERE.parent))
from pings import Way, pings

AFTERWARDS = 1.5  # seconds: a question to a neighbour that is lost is asked again after one
REPEATED = 6  # moves each way, times the rounds
MACHINE = """
netns add lan
link add ens1 address 02:00:5e:00:00:01 type veth peer name far netns lan
link set ens1 up
address add 198.51.100.1/24 dev ens1
address add 2001:db8::1/64 dev ens1 nodad
route add default via 198.51.100.9
route add default via 2001:db8::9
-n lan link set far up
-n lan address add 198.51.100.9/24 dev far
-n lan address add 2001:db8::9/64 dev far nodad
"""
LAN = "/run/netns/lan"
WAYS = [Way("", "198.51.100.9"), Way(LAN, "198.51.100.1"), Way("", "2001:db8::9"), Way(LAN, "2001:db8::1")]


def measure(directory: Path, rounds: int) -> list[Row]:
    """All that the table says of a move."""
    lost: dict[int, int] = {4: 0, 6: 0}
    gaps: dict[int, float] = {4: 0, 6: 0}
    moves = 0
    for number in range(rounds):
        progress(f"uplink: round {number + 1} of {rounds}")
        with fresh_machine():
            for line in MACHINE.strip().splitlines():
                subprocess.run(["ip", *line.split()], check=True)
            routes = _routes()
            for _ in range(REPEATED):
                for words in (("uplink", "br0", "ens1"), ("detach", "br0", "ens1")):
                    with pings(WAYS) as running:
                        run(NETFAB, *words)
                        sleep(AFTERWARDS)
                    moves += 1
                    for way, heard in running.heard.items():
                        family = 6 if ":" in way.target else 4
                        lost[family] += heard.lost
                        gaps[family] = max(gaps[family], heard.gap)
            if _routes() != routes:
                raise RuntimeError(f"{routes}became\n{_routes()}")
    return [
        row
        for family in (4, 6)
        for row in (
            at_most(f"IPv{family} pings lost in {moves} moves", lost[family], 0),
            at_most(f"IPv{family} longest gap", gaps[family] * 1000, 50, " ms"),
        )
    ]


def _routes() -> str:
    shown = [
        subprocess.run(["ip", f, "route"], check=True, capture_output=True, text=True).stdout
        for f in ("-4", "-6")
    ]
    return "".join(shown)


if __name__ == "__main__":
    main(measure, __doc__)
