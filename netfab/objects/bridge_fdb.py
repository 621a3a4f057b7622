"""BridgeFdb: a MAC that a bridge knows to be behind one of its ports (bridge-fdb(8), `master static`)."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Self

from netfab.objects.base import HOST, Dump, Name, Op
from netfab.objects.neighbour import (
    NDA_LLADDR,
    NDA_MASTER,
    NTF_MASTER,
    NUD_NOARP,
    NUD_PERMANENT,
    NUD_REACHABLE,
    SET,
    entries,
    request,
)
from netfab.objects.wire import AF_BRIDGE, RTM_DELNEIGH, RTM_NEWNEIGH, Request, mac, number
from netfab.tuples import NamedTuple


class BridgeFdb(NamedTuple):
    """An entry that does not age. On a learning port, it would drop what that MAC sends by another port."""

    link: Name  # the port
    bridge: Name
    mac: str

    @property
    def for_peers(self) -> bool:
        """Traffic to other hosts depends on it: it is created before what they send to."""
        return True

    @property
    def fixed(self) -> Hashable:
        return self.bridge  # a port's entries go when it leaves a bridge

    @property
    def names(self) -> tuple[Name, ...]:
        return (Name(f"fdb {self.link.space}", f"{self.mac} on a bridge, by {self.link.text}"),)

    @property
    def needs(self) -> tuple[Name, ...]:
        return self.link, self.bridge, Name(f"port {self.link.space}", self.link.text)

    @property
    def after(self) -> tuple[Name, ...]:
        return ()

    @property
    def within(self) -> tuple[Name, ...]:
        return (self.link,)

    def create(self) -> list[Op]:
        return [self._request(RTM_NEWNEIGH, SET, f"set {self}")]

    def update(self, before: Self) -> list[Op]:
        return self.create()

    def delete(self) -> list[Op]:
        return [self._request(RTM_DELNEIGH, 0, f"delete {self}")]

    def _request(self, kind: int, flags: int, doing: str) -> Request:
        attrs = ((NDA_LLADDR, mac(self.mac)),)
        static = NUD_NOARP | NUD_REACHABLE  # PERMANENT would mean the bridge's own address
        return request(self.link, AF_BRIDGE, static, NTF_MASTER, attrs, kind, flags, doing)

    @classmethod
    def read(cls, dump: Dump) -> Iterator[Self]:
        for port, message in entries(dump):
            bridge = dump.links.get((HOST, number(message.attrs.get(NDA_MASTER, b""))))
            if bridge is not None and not message.state & NUD_PERMANENT:
                yield cls(port, bridge, message.attrs[NDA_LLADDR].hex(":"))

    @classmethod
    def unsettled(cls, dump: Dump) -> Iterator[Name]:
        return iter(())

    def __str__(self) -> str:
        return f"fdb {self.mac} of {self.bridge} by {self.link}"
