"""Passage: a way through Docker's forward chain, between one of our bridges and one uplink.

Any base chain's drop is final, and Docker's policy is drop; DOCKER-USER is the chain that it keeps for the
rules of others (docs.docker.com/engine/network/packet-filtering-firewalls). The rules are such as
iptables-nft can read, too: no sets.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator
from typing import Self

from netfab.objects.base import Dump, Name, Op
from netfab.objects.firewall import table_name
from netfab.objects.ops import DropRules, Nft
from netfab.tuples import NamedTuple

TABLE, CHAIN = "filter", "DOCKER-USER"


class Passage(NamedTuple):
    """Two rules that accept what our own table lets through, out of the uplink and in.

    Their comment carries our name.
    """

    family: str  # ip | ip6
    bridge: str
    uplink: str
    owner: str  # our nft table's name
    rules: int = 2  # how many of the two exist

    @property
    def fixed(self) -> Hashable:
        return self.rules

    @property
    def names(self) -> tuple[Name, ...]:
        return (Name("passage", f"{self.family} {self.bridge} {self.uplink}"),)

    @property
    def needs(self) -> tuple[Name, ...]:
        return ()

    @property
    def after(self) -> tuple[Name, ...]:
        return (Name("firewall", "inet"),)

    @property
    def within(self) -> tuple[Name, ...]:
        return ()

    @property
    def comment(self) -> str:
        """The comment that identifies both rules."""
        return f"{self.owner} {self.bridge} {self.uplink}"

    def create(self) -> list[Op]:
        rules = [self._rule(self.bridge, self.uplink), self._rule(self.uplink, self.bridge)]
        return [
            Nft(json.dumps({"nftables": [{"insert": {"rule": rule}} for rule in rules]}), f"create {self}")
        ]

    def _rule(self, coming: str, going: str) -> dict[str, object]:
        expressions: list[dict[str, object]] = [
            {"match": {"op": "==", "left": {"meta": {"key": key}}, "right": name}}
            for key, name in (("iifname", coming), ("oifname", going))
        ]
        expressions += [{"counter": None}, {"accept": None}]
        where = {"family": self.family, "table": TABLE, "chain": CHAIN, "comment": self.comment}
        return {**where, "expr": expressions}

    def update(self, before: Self) -> list[Op]:
        return []

    def delete(self) -> list[Op]:
        return [DropRules(self.family, TABLE, CHAIN, self.comment)]

    @classmethod
    def read(cls, dump: Dump) -> Iterator[Self]:
        owner = table_name(dump.fabric)
        found: dict[tuple[str, str], int] = {}
        for rule in dump.passages:
            name, _, rest = rule.get("comment", "").partition(" ")
            if name == owner:
                found[rule["family"], rest] = found.get((rule["family"], rest), 0) + 1
        for (family, rest), rules in found.items():
            bridge, _, uplink = rest.partition(" ")
            yield cls(family, bridge, uplink, owner, rules)

    @classmethod
    def unsettled(cls, dump: Dump) -> Iterator[Name]:
        return iter(())

    def __str__(self) -> str:
        return f"passage {self.bridge} - {self.uplink} in Docker's {self.family} chain"
