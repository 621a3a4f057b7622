"""Recent traffic of each interface of a fabric, kept in the sandbox in case its test fails.

One socket captures the host ends of all cables on networks; a cable between two nodes has its own.
"""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from netfab.diagnose.pcapng import Pcapng
from netfab.hosts import simulated
from netfab.kernel.capture import Capture, Frame, settle
from netfab.nodes.by_name import opened_namespace
from netfab.plan.names import host_link
from netfab.testing.line import Line

KEPT = 1 << 20  # bytes of frames for each interface; older ones are dropped


class _Ring:
    """The latest frames of one interface."""

    def __init__(self) -> None:
        self._frames: deque[Frame] = deque()
        self._bytes = 0

    def add(self, frame: Frame) -> None:
        self._frames.append(frame)
        self._bytes += len(frame.data)
        while self._bytes > KEPT:
            self._bytes -= len(self._frames.popleft().data)

    def file(self, interface: str) -> bytes:
        """A capture file for Wireshark."""
        pcap = Pcapng()
        frames = (pcap.frame(interface, frame.time, frame.outgoing, frame.data) for frame in self._frames)
        return pcap.head() + b"".join(frames)


_Heard = tuple[
    Capture, Mapping[str, tuple[str, bool]]
]  # interface -> its owner, and whether it is the far end


def record(line: Line, _: list[int], fabric: str, summary: Mapping[str, Any], hosts: Sequence[str]) -> None:
    """Record traffic; whenever asked, send it: a capture file for each interface. Talks."""
    heard = [each for host in hosts or ("",) for each in _captures(fabric, summary, host)]
    rings = {owner: _Ring() for _, owners in heard for owner, _ in owners.values()}
    poll = select.poll()
    for capture, _owners in heard:
        poll.register(capture, select.POLLIN)
    poll.register(line, select.POLLIN)
    line.tell(None)
    while True:
        asked = any(fd == line.fileno() for fd, _ in poll.poll())
        if asked:
            line.hear()
            settle()
        for capture, owners in heard:
            for frame in capture.frames():
                owner, far = owners.get(frame.interface, ("", False))
                if owner:
                    rings[owner].add(frame._replace(outgoing=frame.outgoing != far))
        if asked:
            line.tell({owner: ring.file(owner.rpartition("-")[2]) for owner, ring in rings.items()})


def _captures(fabric: str, summary: Mapping[str, Any], host: str) -> Iterator[_Heard]:
    nodes = {name: node for name, node in summary["nodes"].items() if node.get("host", "") == host}
    with simulated.inside(host) if host else nullcontext():
        netns = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        yield (
            Capture(netns),
            {
                host_link(fabric, name, each["name"]): (f"{name}-{each['name']}", True)
                for name, node in nodes.items()
                for each in node["interfaces"]
            },
        )
        os.close(netns)
        for link in summary.get("links", ()):
            node, _, interface = link["endpoints"][0].partition(":")
            if node in nodes and nodes[node]["namespace"]:
                netns = opened_namespace(fabric, node, nodes[node])
                yield Capture(netns, interface), {interface: (f"{node}-{interface}", False)}
                os.close(netns)
