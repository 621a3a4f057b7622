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
    """A DHCP client. It has a lease once it is created, and releases it when it is deleted."""

    link: Name
    mac: str  # the link's: another MAC means another lease
    client: str  # udhcpc, dhclient, dhcpcd; "dhcp": whichever is installed
    options: tuple[str, ...]  # more arguments for its command line
    hostname: str
    gateway: bool  # it sets the default route, in front of existing ones
    port: str  # the host's end of the veth: no server hears us before it is a port; "" on a link

    @property
    def fixed(self) -> Hashable:
        return self

    @property
    def names(self) -> tuple[Name, ...]:
        return (Name(f"dhcp {self.link.space}", self.link.text),)

    @property
    def needs(self) -> tuple[Name, ...]:
        # Both ends: a destroy that does not read the node knows the host's only.
        return (self.link, Name(HOST, self.port)) if self.port else (self.link,)

    @property
    def after(self) -> tuple[Name, ...]:
        # The server may be one of our programs.
        port = (Name(f"port {HOST}", self.port),) if self.port else ()
        return (*port, Name("container", EVERY))

    @property
    def within(self) -> tuple[Name, ...]:
        return ()  # with a release, the server gives the address to others

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
