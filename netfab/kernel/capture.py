"""Frames as they pass the interfaces of a network namespace (packet(7)).

From the moment that a Capture is made, every frame is kept until it is read; `lost` counts those for which
there was no room.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

from netfab.errors import NetfabError
from netfab.system import linux
from netfab.system.pcap import EVERYTHING, NOTHING, WHOLE, attach, compiled
from netfab.system.poll import readable
from netfab.tuples import NamedTuple

ROOM = 64 << 20  # bytes of frames queued for reading
_OVERHEAD = 512  # bytes of overhead per queued frame, at least (struct sk_buff, skb_shared_info)
_ETH_P_ALL = 3  # linux/if_ether.h
_SOL_PACKET, _PACKET_STATISTICS, _PACKET_AUXDATA = 263, 6, 8  # linux/socket.h, linux/if_packet.h
_SO_TIMESTAMPNS, _SO_RCVBUFFORCE = 35, 33  # asm-generic/socket.h
_OUTGOING = 4  # PACKET_OUTGOING
_AUXDATA = struct.Struct("=IIIHHHH")  # struct tpacket_auxdata
_VLAN_VALID, _TPID_VALID = 0x10, 0x40  # TP_STATUS_VLAN_VALID, TP_STATUS_VLAN_TPID_VALID


class Frame(NamedTuple):
    """A whole frame, as it was on the wire."""

    interface: str
    time: int  # nanoseconds since 1970
    outgoing: bool
    data: bytes


class Capture:
    """Captures frames from now on in the namespace of a file descriptor, or at one interface there."""

    def __init__(self, netns: int, interface: str = "", filter: str = "") -> None:
        """Raises NetfabError: no such interface, an invalid filter."""
        program = compiled(filter) if filter else b""
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
        with linux.in_network(netns):
            self._socket = socket.socket(socket.AF_PACKET, kind, socket.htons(_ETH_P_ALL))
            names = [name for _, name in socket.if_nameindex()]
        self.lost = 0
        try:
            self._prepare(interface, program)
        except OSError as error:
            self.close()
            known = ", ".join(names)
            raise NetfabError(
                f"can't capture at {interface or 'all interfaces'}: {error.strerror}",
                hint=f"there is {known}",
            ) from error

    def _prepare(self, interface: str, program: bytes) -> None:
        """Set up the socket; discard what it received before that was done."""
        attach(self._socket, NOTHING)
        if interface:
            self._socket.bind((interface, _ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        with suppress(PermissionError):  # then the host's limit applies
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, ROOM)
        for _ in self.frames():
            pass
        self.lost = 0
        attach(self._socket, program or EVERYTHING)

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop capturing; frames that were not read are lost."""
        self._socket.close()

    def fileno(self) -> int:
        """For poll(2): readable when there is a frame."""
        return self._socket.fileno()

    def wait(self, seconds: float | None = None) -> bool:
        """Whether a frame arrived within that time."""
        return bool(readable([self._socket], seconds))

    def frames(self) -> Iterator[Frame]:
        """Frames that arrived and were not read yet; ends even if they arrive faster than they are read."""
        taken = 0
        while taken < 2 * ROOM:  # more than the buffer, which the kernel doubles (socket(7))
            try:
                data, ancillary, _, address = self._socket.recvmsg(WHOLE, 256)
            except BlockingIOError:
                break
            except OSError:  # the interface went down or away: earlier frames are complete
                continue
            taken += len(data) + _OVERHEAD
            yield self._frame(data, ancillary, address)
        _, dropped = struct.unpack("=II", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
        self.lost += dropped

    def _frame(
        self, data: bytes, ancillary: list[tuple[int, int, bytes]], address: tuple[str, int, int, int, bytes]
    ) -> Frame:
        time = 0
        for level, kind, value in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
                seconds, nanoseconds = struct.unpack("=qq", value)
                time = seconds * 10**9 + nanoseconds
            elif (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA):
                data = _tagged(data, value)
        name, _, kind, *_ = address
        return Frame(name, time, kind == _OUTGOING, data)


def _tagged(data: bytes, auxdata: bytes) -> bytes:
    """The frame with the VLAN tag that the kernel stripped."""
    status, _, _, _, _, tag, protocol = _AUXDATA.unpack(auxdata[: _AUXDATA.size])
    if not status & _VLAN_VALID:
        return data
    tpid = protocol if status & _TPID_VALID else 0x8100
    return data[:12] + struct.pack("!HH", tpid, tag) + data[12:]


def settle(rounds: int = 8) -> None:
    """Return when everything sent in this namespace before, to nodes of the same machine, has arrived.

    What a veth passes on is queued per CPU (net/core/dev.c: netif_rx), and so is what lo
    hands on: when a datagram over lo has come on each processor, all that was before it has been dealt with.
    Each hop is another round.
    """
    before = os.sched_getaffinity(0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.bind(("127.0.0.1", 0))
        door.connect(door.getsockname())
        try:
            for _ in range(rounds):
                for processor in before:
                    os.sched_setaffinity(0, {processor})
                    door.send(b"x")
                    door.recv(1)
        finally:
            os.sched_setaffinity(0, before)
