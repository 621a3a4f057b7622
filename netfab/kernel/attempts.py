"""Attempts to reach a port of an address from the namespace of the calling thread, and what came of them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address
from time import monotonic

from netfab.kernel.view import listeners
from netfab.system import linux
from netfab.system.poll import readable

_ETH_P_ALL = 3  # linux/if_ether.h
_OUTGOING = 4  # PACKET_OUTGOING, linux/if_packet.h


def connection(address: IPv4Address | IPv6Address, port: int, seconds: float) -> str:
    """Why a TCP connection can't be made within that time; "" if it can."""
    try:
        socket.create_connection((str(address), port), seconds).close()
    except TimeoutError:
        return f"{address} did not answer within {seconds:g} s"
    except ConnectionRefusedError:
        return f"{address} refused the connection to its tcp/{port}"
    except OSError as error:
        return f"{address}: {error.strerror}"
    return ""


def datagram(address: IPv4Address | IPv6Address, port: int, seconds: float, target: int | None = None) -> str:
    """Why a UDP datagram does not reach a program that listens for it; "" if it does.

    It arrives if an answer comes, or if it is seen in `target`, the receiver's network namespace, and
    is not refused. Silence proves nothing.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as door, _witness(target) as witness:
        awaited = target is None or _is_awaited(port, target)
        door.connect((str(address), port))
        try:
            for _ in range(_SENT):
                door.send(b"")
                if _arrives(door, witness, port, awaited, seconds / _SENT):
                    return ""
        except ConnectionRefusedError:
            return f"{address} refused it: its udp/{port} is unreachable"
        except OSError as error:
            return f"{address}: {error.strerror}"
    if target is None:
        return f"{address} did not answer within {seconds:g} s, which with udp says nothing for sure"
    return f"nothing arrived at {address} within {seconds:g} s"


_SENT = 2  # datagrams: one may be lost
_REFUSAL = 0.05  # seconds, at least, to wait for a refusal: mostly it comes at once


def _arrives(
    door: socket.socket, witness: Sequence[socket.socket], port: int, awaited: bool, seconds: float
) -> bool:
    """Whether our datagram arrives and is not refused, even if we get to look only after that time.

    If nobody listens, wait for a refusal as long as for an answer: it may be queued on its
    way back. Raises OSError.
    """
    ours = door.getsockname()[1]
    deadline = monotonic() + seconds
    while True:
        left = deadline - monotonic()
        ready = readable([door, *witness], left)
        if door in ready:
            break
        if any(_is_ours(each.recvfrom(200), ours, port) for each in ready):
            left = deadline - monotonic()
            if not readable([door], _REFUSAL if awaited else max(_REFUSAL, left)):
                return True
            break
        if left <= 0 and (not ready or left < -seconds):  # others may never stop sending
            return False
    door.recv(1)
    return True


def _is_awaited(port: int, netns: int) -> bool:
    """Whether any socket in that namespace receives datagrams to that port."""
    with linux.in_network(netns):
        return any(one.protocol == "udp" and one.port == port for one in listeners())


@contextmanager
def _witness(netns: int | None) -> Iterator[list[socket.socket]]:
    """A socket that sees every frame that enters a namespace; no socket without a namespace."""
    if netns is None:
        yield []
        return
    with linux.in_network(netns):
        door = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
    with door:
        yield [door]


def _is_ours(received: tuple[bytes, tuple[str, int, int, int, bytes]], ours: int, port: int) -> bool:
    """Whether a frame without its link header is our datagram, incoming."""
    data, (_, _, kind, _, _) = received
    head = (data[0] & 15) * 4 if data[:1] and data[0] >> 4 == 4 else 40
    return kind != _OUTGOING and data[head : head + 4] == struct.pack("!HH", ours, port)
