"""XfrmPolicy: what goes between two hosts to a UDP port goes by ESP, or not at all."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Self

from netfab.objects import xfrm
from netfab.objects.base import Dump, Name, Op
from netfab.objects.ops import Xfrm
from netfab.objects.wire import NEW
from netfab.tuples import NamedTuple

_DIRECTIONS = {xfrm.IN: "in", xfrm.OUT: "out"}
_ALL = 0xFFFFFFFF  # algorithms


class XfrmPolicy(NamedTuple):
    """A policy for input (xfrm.IN) or output (xfrm.OUT). Without a state of its reqid, nothing passes."""

    direction: int
    source: IPv4Address | IPv6Address
    destination: IPv4Address | IPv6Address
    port: int  # UDP, of the destination
    reqid: int

    @property
    def fixed(self) -> Hashable:
        return self.reqid

    @property
    def names(self) -> tuple[Name, ...]:
        return (policy_name(self.direction, self.source, self.destination, self.port),)

    @property
    def needs(self) -> tuple[Name, ...]:
        return ()

    @property
    def after(self) -> tuple[Name, ...]:
        return ()

    @property
    def within(self) -> tuple[Name, ...]:
        return ()

    @property
    def _selector(self) -> bytes:
        length, any_port = self.source.max_prefixlen, bytes(2)
        return xfrm.SELECTOR.pack(
            xfrm.packed(self.destination), xfrm.packed(self.source), self.port.to_bytes(2, "big"),
            b"\xff\xff", any_port, any_port, xfrm.family_of(self.source), length, length, xfrm.UDP, 0, 0,
        )  # fmt: skip

    def create(self) -> list[Op]:
        family, to = xfrm.family_of(self.source), xfrm.packed(self.destination)
        header = self._selector + xfrm.POLICY.pack(xfrm.UNLIMITED, bytes(32), 0, 0, self.direction, *(0,) * 3)
        template = xfrm.ID.pack(to, bytes(4), xfrm.ESP) + xfrm.TEMPLATE.pack(
            family, xfrm.packed(self.source), self.reqid, xfrm.TRANSPORT, 0, 0, *(_ALL,) * 3
        )
        body = xfrm.body(header, (xfrm.TEMPLATES, template))
        return [Xfrm(xfrm.NEWPOLICY, NEW, body, f"create {self}")]

    def update(self, before: Self) -> list[Op]:
        raise AssertionError("it is made anew")

    def delete(self) -> list[Op]:
        body = self._selector + xfrm.POLICY_ID.pack(0, self.direction)
        return [Xfrm(xfrm.DELPOLICY, 0, body, f"delete {self}", ends=True)]

    @classmethod
    def read(cls, dump: Dump) -> Iterator[Self]:
        for message in dump.xfrm:
            if message.type == xfrm.NEWPOLICY:
                yield cls.of(message)

    @classmethod
    def of(cls, message: xfrm.XfrmMessage) -> Self:
        """Any policy, reduced to its selector and reqid."""
        selector = xfrm.SELECTOR.unpack_from(message.header)
        to, of, port, family = selector[0], selector[1], selector[2], selector[6]
        direction = xfrm.POLICY.unpack_from(message.header, xfrm.SELECTOR.size)[4]
        ends = xfrm.unpacked(of, family), xfrm.unpacked(to, family)
        return cls(direction, *ends, int.from_bytes(port, "big"), reqid_of(message))

    @classmethod
    def unsettled(cls, dump: Dump) -> Iterator[Name]:
        return iter(())

    def __str__(self) -> str:
        way = _DIRECTIONS.get(self.direction, "forward")
        return f"ipsec {way} {self.source} > {self.destination} udp/{self.port}"


def policy_name(direction: int, source: xfrm.AnyAddress, destination: xfrm.AnyAddress, port: int) -> Name:
    """A name that is unique among a host's policies."""
    return Name(xfrm.POLICIES, f"{_DIRECTIONS.get(direction, 'forward')} {source} > {destination} udp/{port}")


def reqid_of(message: xfrm.XfrmMessage) -> int:
    """The reqid of the states that the policy requires, which marks the owner; 0: none."""
    templates = message.attrs.get(xfrm.TEMPLATES)
    return int(xfrm.TEMPLATE.unpack_from(templates, xfrm.ID.size)[2]) if templates else 0
