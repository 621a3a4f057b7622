"""VxlanFdb: to which peer a tunnel sends frames for a MAC (bridge-fdb(8), `self`)."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Self

from netfab.objects.base import HOST, LASTING, Dump, Name, Op
from netfab.objects.bgp import vnis_told
from netfab.objects.neighbour import (
    NDA_DST,
    NDA_IFINDEX,
    NDA_LLADDR,
    NTF_SELF,
    NUD_PERMANENT,
    SET,
    entries,
    request,
)
from netfab.objects.vxlan import ID
from netfab.objects.wire import (
    AF_BRIDGE,
    NLM_F_APPEND,
    NLM_F_CREATE,
    RTM_DELNEIGH,
    RTM_NEWNEIGH,
    Request,
    Value,
    mac,
    number,
)
from netfab.objects.xfrm import POLICIES
from netfab.tuples import NamedTuple

EVERYBODY = "00:00:00:00:00:00"  # the flood list: broadcast, multicast, unknown unicast


class VxlanFdb(NamedTuple):
    """A MAC's peer; EVERYBODY has an entry for each peer, and each gets a copy.

    Or a multicast group of all peers: that entry comes with the tunnel, and names the device.
    """

    link: Name
    mac: str
    peer: IPv4Address | IPv6Address
    device: Name | None = None

    @property
    def for_peers(self) -> bool:
        """Traffic to other hosts depends on it: it is created before what they send to."""
        return True

    @property
    def fixed(self) -> Hashable:
        return self.device  # a change would add another one

    @property
    def names(self) -> tuple[Name, ...]:
        which = f"{self.mac} {self.peer}" if self.mac == EVERYBODY else self.mac
        return (Name(f"fdb {self.link.space}", f"{which} {self.link.text}"),)

    @property
    def needs(self) -> tuple[Name, ...]:
        return (self.link,)

    @property
    def after(self) -> tuple[Name, ...]:
        # Nothing is sent to a peer unencrypted that should be encrypted.
        return (Name(POLICIES, LASTING),)

    @property
    def within(self) -> tuple[Name, ...]:
        return (self.link,)

    def create(self) -> list[Op]:
        flags = NLM_F_CREATE | NLM_F_APPEND if self.mac == EVERYBODY else SET
        return [self._request(RTM_NEWNEIGH, flags, f"set {self}")]

    def update(self, before: Self) -> list[Op]:
        return self.create()

    def delete(self) -> list[Op]:
        return [self._request(RTM_DELNEIGH, 0, f"delete {self}")]

    def _request(self, kind: int, flags: int, doing: str) -> Request:
        by: tuple[tuple[int, Value], ...] = ((NDA_IFINDEX, self.device),) if self.device else ()
        attrs = ((NDA_LLADDR, mac(self.mac)), (NDA_DST, self.peer.packed), *by)
        return request(self.link, AF_BRIDGE, NUD_PERMANENT, NTF_SELF, attrs, kind, flags, doing)

    @classmethod
    def read(cls, dump: Dump) -> Iterator[Self]:
        by_bgp = _written_by_frr(dump) if dump.bgp else ()
        for tunnel, message in entries(dump):
            frrs = tunnel in by_bgp and message.attrs[NDA_LLADDR].hex(":") == EVERYBODY
            if message.flags & NTF_SELF and NDA_DST in message.attrs and not frrs:
                peer, index = ip_address(message.attrs[NDA_DST]), message.attrs.get(NDA_IFINDEX)
                device = dump.links.get((HOST, number(index))) if index else None
                yield cls(tunnel, message.attrs[NDA_LLADDR].hex(":"), peer, device)

    @classmethod
    def unsettled(cls, dump: Dump) -> Iterator[Name]:
        return iter(())

    def __str__(self) -> str:
        what = "flood" if self.mac == EVERYBODY else f"fdb {self.mac}"
        return f"{what} to {self.peer} by {self.link}"


def _written_by_frr(dump: Dump) -> frozenset[Name]:
    """Tunnels whose flood list is FRR's own: its peers announce who belongs there."""
    vnis = vnis_told(dump.bgp)
    return frozenset(
        Name(HOST, link.name)
        for space, link in dump.marked
        if space == HOST and link.kind == "vxlan" and number(link.info_data()[ID]) in vnis
    )
