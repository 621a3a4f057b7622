"""Bgp: the part of FRR's bgpd configuration that all sessions on this host share, and how it is written.

A statement is a configuration line with the lines it stands under (FRR's user guide, "BGP"). Peers are
bgp_peer.py's.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Self

from netfab.objects.base import Dump, Name, Op
from netfab.objects.ops import TellBgp
from netfab.tuples import NamedTuple

DAEMONS = "host.frr"  # the container that they run in; no node can have this name
ROUTER = "router bgp "
EVPN = "address-family l2vpn evpn"
LIST = "netfab"  # the route-map of what may be announced
_TOLD = f"bgp extcommunity-list standard {LIST}"
_OURS = (ROUTER, "bgp ", "route-map ")  # the rest is the daemon's own: its version, its name
_NEIGHBOR = "neighbor "

Statement = tuple[str, ...]


class Bgp(NamedTuple):
    """bgpd's own AS number and router ID, and the networks that it announces."""

    fabric: str
    statements: tuple[Statement, ...]  # sorted

    @property
    def fixed(self) -> Hashable:
        return ()

    @property
    def names(self) -> tuple[Name, ...]:
        return (Name("bgp", self.fabric),)

    @property
    def needs(self) -> tuple[Name, ...]:
        return (Name("container", DAEMONS),)

    @property
    def after(self) -> tuple[Name, ...]:
        return ()

    @property
    def within(self) -> tuple[Name, ...]:
        return self.needs

    def create(self) -> list[Op]:
        return [TellBgp(added((), self.statements), f"configure {self}")]

    def update(self, before: Self) -> list[Op]:
        return [TellBgp(turned(before.statements, self.statements), f"configure {self}")]

    def delete(self) -> list[Op]:
        return [TellBgp(removed(self.statements, ()), f"end {self}", ends=True)]

    @classmethod
    def read(cls, dump: Dump) -> Iterator[Self]:
        found = [statement for statement in statements_in(dump.bgp) if peer_of(statement) is None]
        if found:
            yield cls(dump.fabric, tuple(sorted(found)))

    @classmethod
    def unsettled(cls, dump: Dump) -> Iterator[Name]:
        return iter(())

    def differs_from(self, before: Self) -> Iterator[str]:
        """The differences, for people."""
        return told(before.statements, self.statements)

    def __str__(self) -> str:
        return f"bgp of {self.fabric}"


def may_tell(asn: int, vni: int) -> str:
    """The statement that permits announcing a network, by its route target from FRR (RFC 8365, 5.1.2)."""
    return f"{_TOLD} seq {vni} permit rt {asn}:{vni}"


def vnis_told(text: str) -> frozenset[int]:
    """The networks that are announced."""
    lines = (line for line in text.splitlines() if line.startswith(_TOLD))
    return frozenset(int(line.rpartition(":")[2]) for line in lines)


def statements_in(text: str) -> Iterator[Statement]:
    """Every statement about BGP in a configuration, as bgpd prints it."""
    under: list[str] = []
    for line in text.splitlines():
        words = line.strip()
        depth = len(line) - len(line.lstrip())
        if not words or words in ("!", "end", "exit", "exit-address-family"):
            continue
        under[depth:] = [words]
        if under[0].startswith(_OURS) and not words.startswith("address-family "):
            yield tuple(under)


def peer_of(statement: Statement) -> str | None:
    """The peer whose session the statement configures."""
    words = statement[-1].removeprefix("no ")
    if statement[0].startswith(ROUTER) and words.startswith(_NEIGHBOR):
        return words.split()[1]
    return None


def turned(before: Iterable[Statement], after: Iterable[Statement]) -> tuple[Statement, ...]:
    """Statements that turn the first configuration into the second."""
    return removed(before, after) + added(before, after)


def added(before: Iterable[Statement], after: Iterable[Statement]) -> tuple[Statement, ...]:
    """Statements that only the second has, in an order that bgpd accepts."""
    return tuple(sorted(set(after) - set(before), key=_rank))


def removed(before: Iterable[Statement], after: Iterable[Statement]) -> tuple[Statement, ...]:
    """Statements that remove what only the first has."""
    gone = sorted(set(before) - set(after), key=_rank, reverse=True)
    return tuple((*statement[:-1], _negated(statement[-1])) for statement in gone)


def told(before: Iterable[Statement], after: Iterable[Statement]) -> Iterator[str]:
    """The differences, for people."""
    yield from (f"without `{statement[-1]}`" for statement in sorted(set(before) - set(after)))
    yield from (f"with `{statement[-1]}`" for statement in sorted(set(after) - set(before)))


def _rank(statement: Statement) -> tuple[bool, int, Statement]:
    """A neighbour's AS number comes before its other statements, and a parent before its children."""
    return "remote-as" not in statement[-1] and len(statement) > 1, len(statement), statement


def _negated(words: str) -> str:
    return words.removeprefix("no ") if words.startswith("no ") else f"no {words}"
