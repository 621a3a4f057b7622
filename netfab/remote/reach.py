"""Whether the underlay carries what the hosts' tunnels will send: probed before tunnels are made.

A smaller MTU behind a switch, or a firewall that blocks tunnels, would otherwise only be noticed by someone
who misses large packets. Existing tunnels that don't change were probed when they were made.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import permutations
from typing import Any

from netfab.errors import Location, NetfabError, raise_all
from netfab.plan.overhead import overlay_mtu, packet_around
from netfab.plan.planner import Plan
from netfab.remote.answers import Prepared
from netfab.remote.messages import BadMessage, Message, field
from netfab.remote.party import Party
from netfab.topology.schema import Topology
from netfab.tuples import NamedTuple

ROUND = 1.0  # seconds that a host waits for others' datagrams
_SEARCHES = 3  # rounds of a search, each with _RUNGS sizes between what passes and what doesn't: 16 ** 3
_RUNGS = 16
_LEAST = {4: 68, 6: 1280}  # bytes that any link must carry; RFC 791, RFC 8200


class Way(NamedTuple):
    """A path from one host to another, for the networks that use it."""

    sender: str
    receiver: str
    port: int


class Need(NamedTuple):
    """What has to pass on a path. size: of the outer packet, in bytes."""

    size: int
    network: str
    at: Location | None
    encrypted: bool = False


def ways_of(
    topology: Topology, plans: Mapping[str, Plan], new: Mapping[str, Collection[str]]
) -> dict[Way, Need]:
    """Paths of tunnels with a new end, with the largest need on each. `new`: devices, by host."""
    found: dict[Way, Need] = {}
    for segment in next(iter(plans.values())).layout.segments.values() if plans else ():
        if (tunnel := segment.tunnel) is None:
            continue
        hosts = [host for host in segment.hosts if host in plans]
        for sender, receiver in permutations(hosts, 2):
            made = tunnel.device in new.get(sender, ()) or tunnel.device in new.get(receiver, ())
            address = topology.hosts[receiver].address
            if made and address is not None:
                way = Way(sender, receiver, tunnel.port)
                size = packet_around(segment.mtu, address.version, tunnel.encrypted)
                need = Need(size, segment.name, segment.spec.at.own, tunnel.encrypted)
                found[way] = max(need, found.get(way, need), key=lambda one: one.size)
    return found


def new_tunnels(changes: Iterable[Mapping[str, Any]]) -> set[str]:
    """The devices of tunnels that are created or changed."""
    return {one["name"] for one in changes if one["kind"] == "vxlan" and one["action"] != "delete"}


def refuse_narrow(
    party: Party, topology: Topology, plans: Mapping[str, Plan], prepared: Mapping[str, Prepared]
) -> None:
    """Raises NetfabError, for all paths together, if less passes than is needed, or nothing does."""
    new = {host: new_tunnels(answer.changes) for host, answer in prepared.items()}
    ways = ways_of(topology, plans, new)
    for port in sorted({way.port for way in ways}):
        of_port = {way: need for way, need in ways.items() if way.port == port}
        raise_all(_Question(party, topology, of_port, port, list(prepared)).errors())


class _Question:
    """A probe of all paths to one port."""

    def __init__(
        self, party: Party, topology: Topology, ways: Mapping[Way, Need], port: int, waiting: list[str]
    ) -> None:
        self._party, self._ways, self._port, self._waiting = party, ways, port, waiting
        self._addresses = {host.name: str(host.address) for host in topology.hosts.values()}
        hosts = dict.fromkeys(host for way in ways for host in way[:2])
        listen = {"verb": "listen", "port": port, "token": os.urandom(8).hex()}
        said = self._ask({host: {**listen, "address": self._addresses[host]} for host in hosts})
        self._ports = {host: field(answer, "port", int) for host, answer in said.items()}
        self._drops: dict[str, list[str]] = {}
        self._got = dict.fromkeys(ways, 0)

    def _ask(self, questions: Mapping[str, Message]) -> dict[str, Message]:
        return self._party.ask_all(questions, self._waiting)

    def errors(self) -> Iterator[NetfabError]:
        """The errors of all paths; of the two between a pair of hosts only one is reported."""
        whole = {way: (need.size,) for way, need in self._ways.items()}
        self._round(whole)
        if missing := self._missing():  # random loss does not repeat
            self._round({way: whole[way] for way in missing})
        bounds = {way: (self._least(way), self._ways[way].size) for way in self._missing()}
        for _ in range(_SEARCHES if bounds else 0):
            self._round({way: _rungs(*bound) for way, bound in bounds.items()})
            narrowed = {way: _narrowed(*bound, self._got[way]) for way, bound in bounds.items()}
            bounds = {way: bound for way, bound in narrowed.items() if bound[0] + 1 < bound[1]}
        self._round({way: whole[way] for way in self._missing()})  # it may have come up meanwhile
        told: set[frozenset[str]] = set()
        for way in self._missing():
            if (error := self._error(way)) is not None and frozenset(way[:2]) not in told:
                told.add(frozenset(way[:2]))
                yield error

    def _missing(self) -> list[Way]:
        return [way for way, need in self._ways.items() if self._got[way] < need.size]

    def _least(self, way: Way) -> int:
        return _LEAST[6 if ":" in self._addresses[way.receiver] else 4]

    def _round(self, sizes: Mapping[Way, tuple[int, ...]]) -> None:
        """Have datagrams of these sizes sent, and record what arrives."""
        peers: dict[str, dict[str, Any]] = {}
        for way, several in sizes.items():
            there = self._addresses[way.receiver], self._ports[way.receiver]
            to = peers.setdefault(way.sender, {}).setdefault(way.receiver, {"sizes": (), "wanted": 0})
            to |= {"address": there[0], "port": there[1], "sizes": several}
            of = peers.setdefault(way.receiver, {}).setdefault(way.sender, {"sizes": (), "wanted": 0})
            of |= {"wanted": max(several)}
            of.setdefault("address", self._addresses[way.sender])
            of.setdefault("port", self._ports[way.sender])
        question = {"verb": "probe", "seconds": ROUND}
        said = self._ask({host: {**question, "me": host, "peers": each} for host, each in peers.items()})
        for receiver, answer in said.items():
            got = field(answer, "got", dict)
            self._drops[receiver] = [str(drop) for drop in field(answer, "drops", list)]
            for way in sizes:
                if way.receiver == receiver:
                    self._got[way] = max(self._got[way], _number(got.get(way.sender)))

    def _error(self, way: Way) -> NetfabError | None:
        need, got = self._ways[way], self._got[way]
        if got:
            family = 6 if ":" in self._addresses[way.receiver] else 4
            most = overlay_mtu(got, family, need.encrypted)
            return NetfabError(
                f"{need.size} bytes have to go from {way.sender} to {way.receiver} in one piece for network"
                f" {need.network}, and {got} do: what is between them is narrower than their interfaces",
                at=need.at,
                hint=f"write `mtu: {most}` for it, or mend what is between them",
            )
        if self._ports[way.receiver] != self._port:  # a firewall may admit only the tunnels' port
            return None
        dropping = "; there, ".join(("", *self._drops[way.receiver]))
        return NetfabError(
            f"nothing that {way.sender} sends to UDP port {self._port} of {way.receiver} arrives{dropping}",
            at=need.at,
            hint=f"have {way.receiver}, and what is between them, accept it from"
            f" {self._addresses[way.sender]}",
        )


def _number(found: object) -> int:
    if not isinstance(found, int):
        raise BadMessage(f"this is not a size: {found!r:.60}")
    return found


def _rungs(passes: int, fails: int) -> tuple[int, ...]:
    """Evenly spaced sizes between these two."""
    step = max(1, (fails - passes) // _RUNGS)
    return tuple(range(passes, fails, step))


def _narrowed(passes: int, fails: int, got: int) -> tuple[int, int]:
    """The bounds after a round of `_rungs`."""
    above = [size for size in (*_rungs(passes, fails), fails) if size > got]
    return max(passes, got), min(above)
