"""Captured frames of a node, for a test: captured in the sandbox, read with scapy."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from netfab.system.poll import readable
from netfab.testing import inside
from netfab.testing.inside import Place
from netfab.testing.line import Line
from netfab.testing.packets import scapy
from netfab.testing.sandboxes import Sandbox


class Captured:
    """The frames so far; in a `with`, up to its end. None that was sent within is missing."""

    def __init__(self, sandbox: Sandbox, place: Place, interface: str, filter: str) -> None:
        self._file = tempfile.NamedTemporaryFile(suffix=".pcapng")  # noqa: SIM115  # deleted with this object
        fds = [self._file.fileno()]
        self._line, _, _ = sandbox.talk(catch, fds, place, interface, filter)
        self._open = True

    def __enter__(self) -> Captured:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop capturing."""
        if self._open:
            self._look()
            self._line.close()
            self._open = False

    @property
    def packets(self) -> Any:
        """A scapy PacketList. Raises NetfabError if scapy is not installed."""
        __tracebackhide__ = True
        scapy("layers.inet6")  # it and its imports register the dissectors
        if self._open:
            self._look()
        return scapy("utils").rdpcap(self._file.name)

    def count(self, layer: Any = None, **fields: Any) -> int:
        """The number of packets that have that layer with these field values: count(TCP, flags="R")."""
        __tracebackhide__ = True
        return sum(
            layer is None
            or (layer in packet and all(getattr(packet[layer], key) == fields[key] for key in fields))
            for packet in self.packets
        )

    def _look(self) -> None:
        self._line.tell(None)
        self._line.hear()


def catch(line: Line, fds: list[int], place: Place, interface: str, filter: str) -> None:
    """Write captured frames to a file; when asked, answer once all frames sent so far are in it. Talks."""
    from netfab.diagnose.pcapng import Pcapng
    from netfab.kernel.capture import Capture, settle

    inside.enter(place)
    netns = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    pcap = Pcapng()
    with Capture(netns, interface, filter) as capture, open(fds[0], "wb") as file:
        file.write(pcap.head())
        file.flush()
        line.tell(None)
        while True:
            asked = line.fileno() in readable([capture.fileno(), line.fileno()], None)
            if asked:
                line.hear()
                settle()
            for frame in capture.frames():
                file.write(pcap.frame(frame.interface, frame.time, frame.outgoing, frame.data))
            if asked:
                file.flush()
                line.tell(capture.lost)
