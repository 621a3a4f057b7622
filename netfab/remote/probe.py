"""A host's end of a probe: datagrams to others that nobody may cut, and which of theirs come.

They go to the tunnels' own port while no tunnel has it, so that firewalls judge them as they will judge
tunnels; and from a port of their own, as a tunnel's do: from that same port they would pass for answers.
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
# linux/in.h and linux/in6.h: DF is set, and no path MTU that is known already is minded.
_UNCUT = {4: (socket.IPPROTO_IP, 10, 3), 6: (socket.IPPROTO_IPV6, 23, 3)}
_COPIES = 2  # of each datagram: one may be lost


class Peer(NamedTuple):
    """Another host in a probe. Sizes are in bytes, with IP's header."""

    address: str
    port: int
    sizes: tuple[int, ...]  # what it is sent
    wanted: int  # what is to come from it


class Probe:
    """The ears of one host, from before anybody sends until `close`."""

    def __init__(self, address: str, port: int, token: str) -> None:
        """`token` tells this probe's datagrams from others. Raises OSError where the address isn't ours."""
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
        """Send to all; the largest that came of each, once it is what is wanted, or the time is over."""
        with self._socket(0) as mouth:
            for peer in peers.values():
                self._send(mouth, me, peer)
        deadline = monotonic() + seconds
        while any(self._got.get(name, 0) < peer.wanted for name, peer in peers.items()):
            left = deadline - monotonic()  # also where strangers never cease to send
            if left <= 0 or not readable([self._ears], left):
                break
            self._hear()
        return {name: self._got.get(name, 0) for name in peers}

    def _send(self, mouth: socket.socket, me: str, peer: Peer) -> None:
        for datagram in self._datagrams(me, peer.sizes):
            with suppress(OSError):  # too large for our own interface, or there is no way
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
        """The port is free again."""
        self._ears.close()
