"""Neighbour: who has an IP address on a link, for good; and the kernel's words for such (linux/neighbour.h).

A bridge answers for those of its permanent neighbours that are behind a port with `neigh_suppress`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Self

from netfab.objects.base import HOST, Dump, Name, Op
from netfab.objects.wire import (
    AF_BRIDGE,
    AF_INET,
    AF_INET6,
    MARK,
    NDMSG,
    NLM_F_CREATE,
    NLM_F_REPLACE,
    RTM_DELNEIGH,
    RTM_NEWNEIGH,
    Body,
    Request,
    Value,
    mac,
    u8,
)
from netfab.tuples import NamedTuple

NDA_DST, NDA_LLADDR, NDA_IFINDEX, NDA_MASTER, NDA_PROTOCOL = 1, 2, 8, 9, 12
WANTED = frozenset({NDA_DST, NDA_LLADDR, NDA_IFINDEX, NDA_MASTER, NDA_PROTOCOL})
NUD_REACHABLE, NUD_NOARP, NUD_PERMANENT = 0x02, 0x40, 0x80
NTF_SELF, NTF_MASTER, NTF_EXT_LEARNED = 0x02, 0x04, 0x10
SET = NLM_F_CREATE | NLM_F_REPLACE  # also replaces what was learned

AnyAddress = IPv4Address | IPv6Address


class NeighbourMessage(NamedTuple):
    """One RTM_NEWNEIGH of a dump: a neighbour, or an entry of a bridge's or tunnel's forwarding table."""

    family: int
    ifindex: int
    state: int
    flags: int
    attrs: dict[int, bytes]  # of WANTED


class Neighbour(NamedTuple):
    """A permanent neighbour; it does not count towards the kernel's limit."""

    link: Name
    address: AnyAddress
    mac: str

    @property
    def for_peers(self) -> bool:
        """Traffic to other hosts depends on it: it is created before what they send to."""
        return True

    @property
    def fixed(self) -> Hashable:
        return ()

    @property
    def names(self) -> tuple[Name, ...]:
        return (Name(f"neighbour {self.link.space}", f"{self.address} {self.link.text}"),)

    @property
    def needs(self) -> tuple[Name, ...]:
        return (self.link,)

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
        family = AF_INET if self.address.version == 4 else AF_INET6
        attrs = (
            (NDA_DST, self.address.packed),
            (NDA_LLADDR, mac(self.mac)),
            (NDA_PROTOCOL, u8(MARK)),
        )
        return request(self.link, family, NUD_PERMANENT, 0, attrs, kind, flags, doing)

    @classmethod
    def read(cls, dump: Dump) -> Iterator[Self]:
        for space, found in dump.neighbours.items():
            for message in found:
                marked = message.attrs.get(NDA_PROTOCOL, b"")[:1] == u8(MARK)
                if marked and message.family != AF_BRIDGE and (space, message.ifindex) in dump.owned:
                    address, lladdr = message.attrs[NDA_DST], message.attrs.get(NDA_LLADDR, b"")
                    yield cls(dump.links[space, message.ifindex], ip_address(address), lladdr.hex(":"))

    @classmethod
    def unsettled(cls, dump: Dump) -> Iterator[Name]:
        return iter(())

    def __str__(self) -> str:
        return f"neighbour {self.address} at {self.mac} on {self.link}"


def request(
    link: Name,
    family: int,
    state: int,
    ntf: int,
    attrs: tuple[tuple[int, Value], ...],
    kind: int,
    flags: int,
    doing: str,
) -> Request:
    """A message about a neighbour or a forwarding entry of that link."""
    body = Body(NDMSG, (family, link, state, ntf, 0), attrs)
    return Request(link.space, kind, flags, body, doing=doing, ends=kind == RTM_DELNEIGH)


def entries(dump: Dump) -> Iterator[tuple[Name, NeighbourMessage]]:
    """(link, entry) of every forwarding entry about our links on the host that was not learned.

    One about a node that moved here was FRR's, and stays marked so until the node sends (br_fdb_update,
    net/bridge/br_fdb.c); FRR's own are about tunnels.
    """
    own = {link.ifindex: link for space, link in dump.marked if space == HOST}
    for message in dump.neighbours.get(HOST, ()):
        if message.family == AF_BRIDGE and message.ifindex in own:
            link = own[message.ifindex]
            learned = message.flags & NTF_EXT_LEARNED and link.kind == "vxlan"
            if message.state & (NUD_PERMANENT | NUD_NOARP) and not learned:
                yield Name(HOST, link.name), message
