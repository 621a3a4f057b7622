"""Firewall: one nft table of the fabric, with everything in it (nft(8), libnftables-json(5)).

Rules stay, data moves: which ports and addresses there are stands in sets and maps, so that a change of these
touches elements only. A chain whose rules differ gets new ones, any other difference replaces the table, each
in one transaction. What the rules mean is the business of plan/.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Self

from netfab.objects.base import Dump, Name, Op
from netfab.objects.difference import changed
from netfab.objects.digest import digest
from netfab.objects.expressions import Expression
from netfab.objects.ops import DelTable, Nft
from netfab.tuples import NamedTuple

# An empty chain that nothing jumps to, created with the table: a table without it is not ours. nft 1.0.6
# has no other mark that JSON can set: it omits a table's comment.
MARK = "netfab"
OPEN = "open"  # the set of bridges with access to the outside
Element = tuple[str, ...]  # the parts of its key, then those of its data

# Written as numbers: nft looks names up in /etc/protocols, which small systems lack.
_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
_PROTOCOL_NAMES = {str(number): name for name, number in _PROTOCOLS.items()}


def table_name(fabric: str) -> str:
    """The name of a fabric's tables."""
    return f"netfab-{fabric}"


def prefix_part(prefix: IPv4Network | IPv6Network) -> str:
    """A prefix as a part of an element: nft prints one with a single address as that address."""
    return str(prefix.network_address if prefix.prefixlen == prefix.max_prefixlen else prefix)


class Rule(NamedTuple):
    """A rule, compared by its comment only: nft does not print an expression as it was written.

    Why nothing else is compared: docs/decisions/0008.
    """

    comment: str  # of ours: a hash of the expression
    expressions: str  # a JSON list

    @classmethod
    def of(cls, *expressions: Expression) -> Self:
        """A rule that carries its own hash."""
        text = _compact(expressions)
        return cls(digest(text.encode()).hex()[:16], text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rule) and self.comment == other.comment

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.comment)


class Chain(NamedTuple):
    """A chain and its rules in order; without a hook, one that others jump to."""

    name: str
    rules: tuple[Rule, ...]
    type: str = ""  # filter, nat
    hook: str = ""
    priority: int = 0
    policy: str = ""


class Set(NamedTuple):
    """A set, or with `data` a map. Elements are sorted: the kernel keeps no order."""

    name: str
    key: tuple[str, ...]  # nft's types: ifname, ipv4_addr ...
    data: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    counted: bool = False  # each element counts the packets that matched it
    elements: tuple[Element, ...] = ()

    def holding(self, elements: Iterable[Element]) -> Self:
        """The same set with these elements."""
        return self._replace(elements=tuple(sorted(set(elements))))

    @property
    def kind(self) -> str:
        """set or map, as nft calls it."""
        return "map" if self.data else "set"


class Firewall(NamedTuple):
    """A table. It needs nothing: it refers to links by name, and drops what it doesn't know."""

    family: str  # inet, bridge
    table: str
    chains: tuple[Chain, ...] = ()
    sets: tuple[Set, ...] = ()
    dormant: bool = False  # disabled as a whole, by somebody else

    @property
    def fixed(self) -> str:
        return self.table

    @property
    def names(self) -> tuple[Name, ...]:
        return (Name("firewall", self.family),)

    @property
    def forwards(self) -> bool:
        """Whether it lets any traffic leave the host."""
        return any(chain.hook == "postrouting" for chain in self.chains)

    @property
    def bridges(self) -> tuple[str, ...]:
        """The bridges with access to the outside."""
        return tuple(str(element[0]) for one in self.sets if one.name == OPEN for element in one.elements)

    @property
    def needs(self) -> tuple[Name, ...]:
        return ()

    @property
    def after(self) -> tuple[Name, ...]:
        return ()

    @property
    def within(self) -> tuple[Name, ...]:
        return ()

    def create(self) -> list[Op]:
        return [Nft(_transaction(self._additions()), f"create {self}")]

    def update(self, before: Self) -> list[Op]:
        if self._frame() == before._frame():
            gone, new = self._elements("delete", before, self), self._elements("add", self, before)
            return [Nft(_transaction([*gone, *new, *self._rules_unlike(before)]), f"update {self}")]
        return [Nft(_transaction([self._deletion(), *self._additions()]), f"replace {self}")]

    def delete(self) -> list[Op]:
        return [DelTable(self.family, self.table, f"delete {self}")]

    @classmethod
    def read(cls, dump: Dump) -> Iterator[Self]:
        for listing in dump.tables:
            things = [(kind, body) for item in listing["nftables"] for kind, body in item.items()]
            (table,) = (body for kind, body in things if kind == "table")
            chains = [body for kind, body in things if kind == "chain" and body["name"] != MARK]
            rules: dict[str, list[Rule]] = {body["name"]: [] for body in chains}
            for kind, body in things:
                if kind == "rule" and body["chain"] != MARK:
                    rules[body["chain"]].append(_read_rule(body))
            yield cls(
                table["family"],
                table["name"],
                tuple(_read_chain(body, rules[body["name"]]) for body in chains),
                tuple(_read_set(body) for kind, body in things if kind in ("set", "map")),
                bool(table.get("flags")),  # nft 1.0.6 prints garbage; only `dormant` outlives its setter
            )

    @classmethod
    def unsettled(cls, dump: Dump) -> Iterator[Name]:
        return iter(())

    def differs_from(self, before: Self) -> Iterator[str]:
        """The differences, for people: which chains, sets and maps."""
        yield from (f"chain {name}" for name in _changed(before.chains, self.chains))
        kinds = {held.name: held.kind for held in (*before.sets, *self.sets)}
        yield from (f"{kinds[name]} {name}" for name in _changed(before.sets, self.sets))
        if self.dormant != before.dormant:
            yield changed("", *(("on", "off")[table.dormant] for table in (before, self)))

    def __str__(self) -> str:
        return f"firewall {self.family} {self.table}"

    def _deletion(self) -> Mapping[str, Any]:
        return {"delete": {"table": {"family": self.family, "name": self.table}}}

    def _additions(self) -> Iterator[Mapping[str, Any]]:
        """Chains come first: verdicts in a map refer to them, so they must exist by then."""
        here = {"family": self.family, "table": self.table}
        yield {"create": {"table": {"family": self.family, "name": self.table}}}  # never takes one over
        yield {"add": {"chain": {**here, "name": MARK}}}
        for chain in self.chains:
            hook = {"type": chain.type, "hook": chain.hook, "prio": chain.priority, "policy": chain.policy}
            yield {"add": {"chain": {**here, "name": chain.name, **(hook if chain.hook else {})}}}
        for held in self.sets:
            yield {"add": {held.kind: {**here, **_written_set(held)}}}
        for chain in self.chains:
            yield from self._rules(chain)

    def _frame(self) -> Self:
        """The table without rules and elements: what can't change in place."""
        return self._replace(
            chains=tuple(chain._replace(rules=()) for chain in self.chains),
            sets=tuple(held._replace(elements=()) for held in self.sets),
        )

    def _rules_unlike(self, before: Self) -> Iterator[Mapping[str, Any]]:
        """For each chain whose rules differ, all of them anew."""
        for chain, was in zip(self.chains, before.chains, strict=True):
            if chain != was:
                here = {"family": self.family, "table": self.table}
                yield {"flush": {"chain": {**here, "name": chain.name}}}
                yield from self._rules(chain)

    def _rules(self, chain: Chain) -> Iterator[Mapping[str, Any]]:
        here = {"family": self.family, "table": self.table, "chain": chain.name}
        return ({"add": {"rule": {**here, **_written_rule(rule)}}} for rule in chain.rules)

    def _elements(self, verb: str, those_of: Self, not_of: Self) -> Iterator[Mapping[str, Any]]:
        """A command per set for the elements that one table has and another has not."""
        for one, other in zip(those_of.sets, not_of.sets, strict=True):
            if changed := sorted(set(one.elements).difference(other.elements)):
                here = {"family": self.family, "table": self.table, "name": one.name}
                yield {
                    verb: {
                        "element": {**here, "elem": [_written_element(one, element) for element in changed]}
                    }
                }


def _changed(before: Iterable[Chain | Set], after: Iterable[Chain | Set]) -> list[str]:
    """The names of those that are in only one of the two, or differ."""
    old, new = ({thing.name: thing for thing in those} for those in (before, after))
    return [name for name in {**old, **new} if old.get(name) != new.get(name)]


def dropped(listings: Iterable[Any], name: str) -> dict[str, int]:
    """Packets that each element of a counted set has matched, by the element's key."""
    return {
        " ".join(map(_read_part, _parts(element["elem"]["val"]))): element["elem"]["counter"]["packets"]
        for listing in listings
        for item in listing["nftables"]
        if item.get("set", {}).get("name") == name
        for element in item["set"].get("elem", ())
        if "counter" in _wrapping(element)
    }


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _transaction(commands: Iterable[Mapping[str, Any]]) -> str:
    return _compact({"nftables": list(commands)})


def _written_rule(rule: Rule) -> Mapping[str, Any]:
    comment = {"comment": rule.comment} if rule.comment else {}
    return {**comment, "expr": json.loads(rule.expressions)}


def _written_set(held: Set) -> Mapping[str, Any]:
    written: dict[str, Any] = {"name": held.name, "type": _one_or_all(held.key)}
    if held.data:
        written["map"] = _one_or_all(held.data)
    if held.flags:
        written["flags"] = list(held.flags)
    if held.counted:
        written["stmt"] = [{"counter": None}]
    if held.elements:
        written["elem"] = [_written_element(held, element) for element in held.elements]
    return written


def _written_element(held: Set, element: Element) -> Any:
    size = len(element) - len(held.data)  # not from the key: a catch-all element has one part, `*`
    key = _written(held.key, element[:size])
    return [key, _written(held.data, element[size:])] if held.data else key


def _written(types: Sequence[str], parts: Sequence[str]) -> Any:
    written = [_written_part(kind, part) for kind, part in zip(types, parts, strict=False)]
    return written[0] if len(written) == 1 else {"concat": written}


def _written_part(kind: str, part: str) -> Any:
    """The JSON of a part: `fd00::/64`, `goto guest`, `tcp`. What was read in another form is JSON already."""
    if part.startswith("{"):
        return json.loads(part)
    if kind == "verdict":
        verdict, _, target = part.partition(" ")
        return {verdict: {"target": target} if target else None}
    if kind == "inet_proto":
        return _PROTOCOLS.get(part, part)
    if kind in ("ipv4_addr", "ipv6_addr") and "/" in part:
        address, _, length = part.partition("/")
        return {"prefix": {"addr": address, "len": int(length)}}
    return part


def _one_or_all(parts: Sequence[str]) -> Any:
    return parts[0] if len(parts) == 1 else list(parts)


def _read_rule(body: Mapping[str, Any]) -> Rule:
    return Rule(body.get("comment", ""), _compact(body["expr"]))


def _read_chain(body: Mapping[str, Any], rules: Iterable[Rule]) -> Chain:
    hook = body.get("type", ""), body.get("hook", ""), body.get("prio", 0), body.get("policy", "")
    return Chain(body["name"], tuple(rules), *hook)


def _read_set(body: Mapping[str, Any]) -> Set:
    key, data = _words(body["type"]), _words(body.get("map", ()))
    found = body.get("elem", ())
    counted = "stmt" in body or any("counter" in _wrapping(element) for element in found)
    elements = (_read_element(element, key, data) for element in found)
    return Set(body["name"], key, data, _words(body.get("flags", ())), counted, tuple(sorted(elements)))


def _words(printed: Any) -> tuple[str, ...]:
    # A key of several types is printed as a list, data of several as "ipv4_addr . inet_service"; one flag is
    # printed as a list by nft 1.0 and as a word by later ones.
    return tuple(printed.split(" . ")) if isinstance(printed, str) else tuple(printed)


def _wrapping(element: Any) -> Mapping[str, Any]:
    """What nft prints of an element besides its value: counter, timeout, comment."""
    wrapping: Mapping[str, Any] = element.get("elem", {}) if isinstance(element, dict) else {}
    return wrapping


def _read_element(element: Any, key: Sequence[str], data: Sequence[str]) -> Element:
    value, *result = element if data else [element]
    parts = _parts(_wrapping(value).get("val", value)) + [part for found in result for part in _parts(found)]
    read = tuple(part if type(part) is str else _read_part(part) for part in parts)
    if "inet_proto" not in key and "inet_proto" not in data:
        return read
    return tuple(
        _PROTOCOL_NAMES.get(part, part) if kind == "inet_proto" else part
        for kind, part in zip((*key, *data), read, strict=False)
    )


def _parts(value: Any) -> list[Any]:
    return list(value["concat"]) if isinstance(value, dict) and "concat" in value else [value]


def _read_part(part: Any) -> str:
    match part:
        case str():
            return part
        case {"prefix": {"addr": address, "len": length}}:
            return f"{address}/{length}"
        case {"goto": {"target": target}}:
            return f"goto {target}"
        case {"accept": None} | {"drop": None}:
            return str(*part)
        case dict() | list():
            return _compact(part)
        case _:
            return str(part)
