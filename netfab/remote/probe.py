"""A host's end of a path probe: sends unfragmentable datagrams to others, and counts which of theirs arrive.

They go to the tunnels' own port while no tunnel has it, so that firewalls treat them as they will treat
tunnels; and from another source port, as a tunnel's: from that same port they would pass for replies.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from ipaddress import ip_address
from time import monotonic

from netfab.system.poll import readable
from netfab.tuples import NamedTuple

HEADERS = {4: 28, 6: 48}  # bytes of IP and UDP
# linux/in.h and linux/in6.h: set DF, and ignore a cached path MTU (PMTUDISC_PROBE).
_UNCUT = {4: (socket.IPPROTO_IP, 10, 3), 6: (socket.IPPROTO_IPV6, 23, 3)}
_COPIES = 2  # of each datagram, as one may be lost


class Peer(NamedTuple):
    """Another host in a probe. Sizes are in bytes, including the IP header."""

    address: str
    port: int
    sizes: tuple[int, ...]  # sent to it
    wanted: int  # expected from it


class Probe:
    """One host's receiving socket, open from before anybody sends until `close`."""

    def __init__(self, address: str, port: int, token: str) -> None:
        """`token` identifies this probe's datagrams. Raises OSError if the address isn't ours."""
        self._version = ip_address(address).version
        self._address, self._token = address, token.encode()
        self._got: dict[str, int] = {}
        try:
            self._ears = self._socket(port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            self._ears = self._socket(0)  # a tunnel has it
        self.port: int = self._ears.getsockname()[1]

    def _socket(self, port: int) -> socket.socket:
        made = socket.socket(socket.AF_INET if self._version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
        try:
            made.setsockopt(*_UNCUT[self._version])
            made.bind((self._address, port))
        except OSError:
            made.close()
            raise
        made.setblocking(False)
        return made

    def exchange(self, me: str, peers: Mapping[str, Peer], seconds: float) -> dict[str, int]:
        """Send to all; returns the largest size received from each, once all are complete or time is up."""
        with self._socket(0) as mouth:
            for peer in peers.values():
                self._send(mouth, me, peer)
        deadline = monotonic() + seconds
        while any(self._got.get(name, 0) < peer.wanted for name, peer in peers.items()):
            left = deadline - monotonic()  # also if strangers never stop sending
            if left <= 0 or not readable([self._ears], left):
                break
            self._hear()
        return {name: self._got.get(name, 0) for name in peers}

    def _send(self, mouth: socket.socket, me: str, peer: Peer) -> None:
        for datagram in self._datagrams(me, peer.sizes):
            with suppress(OSError):  # too large for our own interface, or no route
                mouth.sendto(datagram, (peer.address, peer.port))

    def _datagrams(self, me: str, sizes: Iterable[int]) -> Iterable[bytes]:
        words = b"%s %s\n" % (self._token, me.encode())
        return (words.ljust(size - HEADERS[self._version], b"\0") for size in sizes for _ in range(_COPIES))

    def _hear(self) -> None:
        with suppress(OSError):
            data = self._ears.recv(1 << 16)
            token, _, name = data.partition(b"\n")[0].partition(b" ")
            if token == self._token:
                size, who = len(data) + HEADERS[self._version], name.decode(errors="replace")
                self._got[who] = max(size, self._got.get(who, 0))

    def close(self) -> None:
        """Free the port."""
        self._ears.close()
