"""Vxlan: a port whose far side is the same segment on other hosts (RFC 7348; linux/if_link.h)."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Self

from netfab.objects.base import HOST, LASTING, Dump, Name, Op
from netfab.objects.link import (
    ADDRESS,
    GROUP,
    INFO_DATA,
    INFO_KIND,
    LINKINFO,
    MTU,
    own_links,
    set_link,
    set_up,
)
from netfab.objects.ops import DelLink
from netfab.objects.veth import End
from netfab.objects.wire import IFINFO, NEW, RTM_NEWLINK, Body, Request, Value, mac, number, u8, u32
from netfab.objects.xfrm import POLICIES
from netfab.tuples import NamedTuple

ID, MULTICAST, LINK, LOCAL, TTL, LEARNING, PORT, MULTICAST6, LOCAL6, UDP_CSUM = (
    1,
    2,
    3,
    4,
    5,
    7,
    15,
    16,
    17,
    18,
)


class Vxlan(NamedTuple):
    """A tunnel to the peers in its forwarding table, and to nobody else.

    With `learning` it also sends to peers that it heard from: never together with permanent entries, due to
    which the kernel then drops what a MAC sends that moved. With `multicast` it is a member of that group,
    and created with it in its forwarding table as the address of everybody (VxlanFdb).
    """

    end: End
    device: Name  # that leads to the underlay
    vni: int
    local: IPv4Address | IPv6Address  # this host's, on the underlay
    group: int
    port: int = 4789
    learning: bool = False
    multicast: IPv4Address | IPv6Address | None = None
    ttl: int = 0  # of its packets; 0: the kernel's default, which is 1 to a group

    @property
    def for_peers(self) -> bool:
        """Traffic to other hosts depends on it: it is created before what they send to."""
        return True

    @property
    def fixed(self) -> Hashable:  # the kernel says "Cannot change VNI", "Cannot change port"
        # Before Linux 6.15 a changed group is not joined.
        return self.end.link, self.vni, self.port, self.local.version, self.multicast

    @property
    def names(self) -> tuple[Name, ...]:
        # A second device with this VNI and port is refused, so a replacement waits for the deletion.
        return self.end.link, Name(f"vxlan {self.end.link.space}", f"{self.port}/{self.vni}")

    @property
    def needs(self) -> tuple[Name, ...]:
        return (self.device,)

    @property
    def after(self) -> tuple[Name, ...]:
        # The rule that keeps strangers out exists before the tunnel, and is deleted after it.
        # So do its IPsec policies.
        return Name("firewall", "inet"), Name("firewall", "bridge"), Name(POLICIES, LASTING)

    @property
    def within(self) -> tuple[Name, ...]:
        return ()

    def create(self) -> list[Op]:
        # Checksums of the outer header cost a pass over each packet; over IPv4 there are none (RFC 7348, 5).
        born = (
            (ID, u32(self.vni)),
            (PORT, self.port.to_bytes(2, "big")),
            *(((UDP_CSUM, u8(False)),) if self.local.version == 4 else ()),
            *self._membership(),
        )
        attrs = (*self.end.born(self.group), self._info(born))
        body = Body(IFINFO, (0, 0, self.end.link, 0, 0), attrs)
        doing = f"create {self}"
        makes = (self.end.link,)
        return [
            Request(self.end.link.space, RTM_NEWLINK, NEW, body, makes=makes, doing=doing),
            *self.end.set(self._label),
        ]

    def update(self, before: Self) -> list[Op]:
        attrs = ((GROUP, u32(self.group)), (ADDRESS, mac(self.end.mac)), (MTU, u32(self.end.mtu)))
        doing = f"update {self}"
        own = set_link(self.end.link, (self._info(),), doing)  # with others: "Cannot change mtu"
        ops = [set_link(self.end.link, attrs, doing), own, *self.end.set(self._label, before.end.settings)]
        if before.end.up and not self.end.up:
            ops.append(set_up(self.end.link, False, str(self)))
        return ops

    def _info(self, born: tuple[tuple[int, Value], ...] = ()) -> tuple[int, Value]:
        data = (
            *born,
            (LINK, self.device),
            (LOCAL if self.local.version == 4 else LOCAL6, self.local.packed),
            (TTL, u8(self.ttl)),
            (LEARNING, u8(self.learning)),
        )
        return LINKINFO, ((INFO_KIND, b"vxlan"), (INFO_DATA, data))

    def _membership(self) -> Iterator[tuple[int, Value]]:
        if self.multicast is not None:
            yield MULTICAST if self.multicast.version == 4 else MULTICAST6, self.multicast.packed

    @property
    def _label(self) -> str:
        return f"netfab:{self.end.link.text}"

    def delete(self) -> list[Op]:
        return [DelLink(self.end.link, self.group)]

    @classmethod
    def read(cls, dump: Dump) -> Iterator[Self]:
        for space, link in own_links(dump):
            if link.kind == "vxlan":
                data = link.info_data()
                device = dump.links.get((HOST, number(data.get(LINK, b""))), Name("elsewhere", "no device"))
                local = data.get(LOCAL) or data.get(LOCAL6) or bytes(4)
                multicast = data.get(MULTICAST) or data.get(MULTICAST6)
                yield cls(
                    End.of(space, link),
                    device,
                    number(data[ID]),
                    ip_address(local),
                    link.group,
                    int.from_bytes(data[PORT], "big"),
                    bool(number(data[LEARNING])),
                    ip_address(multicast) if multicast else None,
                    number(data[TTL]),
                )

    @classmethod
    def unsettled(cls, dump: Dump) -> Iterator[Name]:
        return iter(())

    def __str__(self) -> str:
        return f"vxlan {self.end.link}"
