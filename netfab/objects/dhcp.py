"""Dhcp: a client that keeps an interface's lease (RFC 2131), a program of this host in the node's network.

What it gets (address, routes) is the client's, not an object of ours: it changes when the server says so.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Self

from netfab.objects.base import EVERY, HOST, Dump, Name, Op
from netfab.objects.ops import StartClient, StopClient
from netfab.tuples import NamedTuple


class Dhcp(NamedTuple):
    """It has a lease when it is made, and gives it back when it ends."""

    link: Name
    mac: str  # the link's: with another one it is another lease
    client: str  # udhcpc, dhclient, dhcpcd; "dhcp": whichever there is
    options: tuple[str, ...]  # more words for its command line
    hostname: str
    gateway: bool  # the default route goes there, in front of what is there
    port: str  # the host's end of the cable: until it is a port, no server hears us; "" on a link

    @property
    def fixed(self) -> Hashable:
        return self

    @property
    def names(self) -> tuple[Name, ...]:
        return (Name(f"dhcp {self.link.space}", self.link.text),)

    @property
    def needs(self) -> tuple[Name, ...]:
        # Both ends: a destroy that does not look into the node knows the host's only.
        return (self.link, Name(HOST, self.port)) if self.port else (self.link,)

    @property
    def after(self) -> tuple[Name, ...]:
        # The server may be one of our programs.
        port = (Name(f"port {HOST}", self.port),) if self.port else ()
        return (*port, Name("container", EVERY))

    @property
    def within(self) -> tuple[Name, ...]:
        return ()  # a server that is told gives the address to others

    def create(self) -> list[Op]:
        return [StartClient(self)]

    def update(self, before: Self) -> list[Op]:
        return []

    def delete(self) -> list[Op]:
        return [StopClient(self)]

    @classmethod
    def read(cls, dump: Dump) -> Iterator[Self]:
        yield from dump.clients

    @classmethod
    def unsettled(cls, dump: Dump) -> Iterator[Name]:
        return iter(())

    def __str__(self) -> str:
        return f"dhcp client of {self.link}"
