"""BgpPeer: a session of this host's bgpd with another one, in the words of its configuration."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator
from typing import Self

from netfab.objects.base import Dump, Name, Op
from netfab.objects.bgp import Statement, added, peer_of, statements_in, told, turned
from netfab.objects.ops import TellBgp
from netfab.tuples import NamedTuple


class BgpPeer(NamedTuple):
    """The statements of a session with a peer, which change in place."""

    fabric: str
    address: str
    statements: tuple[Statement, ...]  # sorted

    @property
    def fixed(self) -> Hashable:
        return ()

    @property
    def names(self) -> tuple[Name, ...]:
        return (Name("bgp peer", self.address),)

    @property
    def needs(self) -> tuple[Name, ...]:
        return (Name("bgp", self.fabric),)

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
        router = self.statements[0][0]
        return [TellBgp(((router, f"no neighbor {self.address}"),), f"end {self}", ends=True)]

    @classmethod
    def read(cls, dump: Dump) -> Iterator[Self]:
        found: dict[str, list[Statement]] = defaultdict(list)
        for statement in statements_in(dump.bgp):
            if (peer := peer_of(statement)) is not None:
                found[peer].append(statement)
        for peer, statements in found.items():
            yield cls(dump.fabric, peer, tuple(sorted(statements)))

    @classmethod
    def unsettled(cls, dump: Dump) -> Iterator[Name]:
        return iter(())

    def differs_from(self, before: Self) -> Iterator[str]:
        """The differences, for people."""
        return told(before.statements, self.statements)

    def __str__(self) -> str:
        return f"bgp peer {self.address}"
