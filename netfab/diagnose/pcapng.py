"""Captured frames as a file for Wireshark, tcpdump and scapy: pcapng (draft-ietf-opsawg-pcapng); pure."""

from __future__ import annotations

import struct

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_MAGIC = 0x1A2B3C4D
_ETHERNET = 1
_NAME, _RESOLUTION, _FLAGS, _END = 2, 9, 2, 0  # options: if_name, if_tsresol; epb_flags
_INWARD, _OUTWARD = 1, 2


class Pcapng:
    """The blocks of one file, in order."""

    def __init__(self) -> None:
        self._interfaces: dict[str, int] = {}

    def head(self) -> bytes:
        """The blocks at the beginning of the file."""
        return _block(_SECTION, struct.pack("=IHHq", _MAGIC, 1, 0, -1))

    def frame(self, interface: str, time: int, outgoing: bool, data: bytes) -> bytes:
        """A frame; before an interface's first, the interface's block. `time`: nanoseconds since 1970."""
        before = b""
        number = self._interfaces.get(interface)
        if number is None:
            number = self._interfaces[interface] = len(self._interfaces)
            options = _option(_NAME, interface.encode()) + _option(_RESOLUTION, b"\x09")
            before = _block(_INTERFACE, struct.pack("=HHI", _ETHERNET, 0, 0) + options + _option(_END, b""))
        flags = _option(_FLAGS, struct.pack("=I", _OUTWARD if outgoing else _INWARD)) + _option(_END, b"")
        head = struct.pack("=IIIII", number, time >> 32, time & 0xFFFFFFFF, len(data), len(data))
        return before + _block(_PACKET, head + _padded(data) + flags)


def _block(kind: int, body: bytes) -> bytes:
    length = len(body) + 12
    return struct.pack("=II", kind, length) + body + struct.pack("=I", length)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("=HH", code, len(value)) + _padded(value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
