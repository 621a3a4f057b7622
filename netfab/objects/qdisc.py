"""Qdisc: how fast an end of a cable sends: a token bucket (tc-tbf(8), linux/pkt_sched.h)."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from struct import Struct
from typing import Self

from netfab.objects.base import Dump, Name, Op
from netfab.objects.wire import (
    NEW,
    NLM_F_CREATE,
    NLM_F_REPLACE,
    RTM_DELQDISC,
    RTM_NEWQDISC,
    TCMSG,
    Body,
    Request,
    Value,
    number,
    parse,
    text,
)
from netfab.tuples import NamedTuple

TC_H_ROOT = 0xFFFFFFFF
TCA_KIND, TCA_OPTIONS = 1, 2
TBF_PARMS, TBF_RATE64 = 1, 4
ETHERNET = 1  # TC_LINKLAYER_ETHERNET: the kernel computes the rate table
_RATESPEC = Struct("=BBHhHI")  # cell_log, linklayer, overhead, cell_align, mpu, rate in bytes a second
_QOPT = Struct("=12s12sIII")  # rate, peak rate, limit in bytes, buffer in ticks, mtu
_MOST32 = 0xFFFFFFFF
TICK = 6  # a tick is 2^6 ns; net/pkt_sched.h, PSCHED_SHIFT
BURST = 0.01  # seconds of traffic that may be sent at once, but at least
BURST_LEAST = 16 * 1024  # bytes
QUEUE = 0.05  # seconds of traffic that may be queued


class Qdisc(NamedTuple):
    """A link's rate limit. A root qdisc that a user added is never replaced."""

    link: Name
    rate: int  # bits per second

    @property
    def fixed(self) -> Hashable:
        return ()

    @property
    def names(self) -> tuple[Name, ...]:
        return (Name(f"qdisc {self.link.space}", self.link.text),)

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
        return [self._request(RTM_NEWQDISC, NEW, "limit", self._attrs())]

    def update(self, before: Self) -> list[Op]:
        return [self._request(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, "limit", self._attrs())]

    def delete(self) -> list[Op]:
        return [self._request(RTM_DELQDISC, 0, "no longer limit", ())]

    def _request(self, kind: int, flags: int, verb: str, attrs: tuple[tuple[int, Value], ...]) -> Request:
        body = Body(TCMSG, (0, self.link, 0, TC_H_ROOT, 0), attrs)
        return Request(self.link.space, kind, flags, body, doing=f"{verb} {self.link}")

    def _attrs(self) -> tuple[tuple[int, Value], ...]:
        a_second = self.rate // 8
        burst = max(int(a_second * BURST), BURST_LEAST)
        limit = min(burst + int(a_second * QUEUE), _MOST32)
        spec = _RATESPEC.pack(0, ETHERNET, 0, 0, 0, min(a_second, _MOST32))
        buffer = min(burst * 1_000_000_000 // a_second >> TICK, _MOST32)
        options: list[tuple[int, Value]] = [(TBF_PARMS, _QOPT.pack(spec, b"", limit, buffer, 0))]
        if a_second > _MOST32:
            options.append((TBF_RATE64, a_second.to_bytes(8, "little")))
        return (TCA_KIND, "tbf"), (TCA_OPTIONS, tuple(options))

    @classmethod
    def read(cls, dump: Dump) -> Iterator[Self]:
        for space, messages in dump.qdiscs.items():
            for message in messages:
                link = dump.links.get((space, message.ifindex))
                owned = (space, message.ifindex) in dump.owned
                if link and owned and message.parent == TC_H_ROOT and text(message.attrs[TCA_KIND]) == "tbf":
                    yield cls(link, 8 * _rate_of(message.attrs.get(TCA_OPTIONS, b"")))

    @classmethod
    def unsettled(cls, dump: Dump) -> Iterator[Name]:
        return iter(())

    def __str__(self) -> str:
        return f"rate of {self.link}"


class QdiscMessage(NamedTuple):
    """One RTM_NEWQDISC of a dump."""

    ifindex: int
    parent: int
    attrs: dict[int, bytes]


def _rate_of(options: bytes) -> int:
    """The rate in bytes per second."""
    found = parse(options, 0, len(options))
    if TBF_RATE64 in found:
        return number(found[TBF_RATE64])
    return int(_RATESPEC.unpack_from(found.get(TBF_PARMS, bytes(_QOPT.size)))[-1])
