"""The words of nft's JSON that our rules are made of (libnftables-json(5)).

Plain data: what a rule says, never how it gets to the kernel. Whatever a user named stands in a set, not in a
rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Expression = Mapping[str, Any]

ACCEPT: Expression = {"accept": None}
DROP: Expression = {"drop": None}
RETURN: Expression = {"return": None}
COUNT: Expression = {"counter": None}
MASQUERADE: Expression = {"masquerade": None}
UNTRACKED: Expression = {"notrack": None}


def meta(key: str) -> Expression:
    """A packet's metadata: iifname, oifname, protocol, pkttype."""
    return {"meta": {"key": key}}


def header(protocol: str, field: str) -> Expression:
    """A field of a header: ("ip", "saddr"). `th` is the transport header of any protocol that has ports."""
    return {"payload": {"protocol": protocol, "field": field}}


def raw_header(start: int, length: int) -> Expression:
    """Bits of the transport header that nft has no name for; they are compared with numbers."""
    return {"payload": {"base": "th", "offset": start, "len": length}}


def together(*parts: Expression | str) -> Expression:
    """Several values concatenated to one key."""
    return {"concat": list(parts)}


def masked(left: Expression, mask: int) -> Expression:
    """The bits of a value that the mask names."""
    return {"&": [left, mask]}


def match(left: Expression, right: Any, op: str = "==") -> Expression:
    """Go on only if `left` compares to `right`: a value, {"set": [...]}, or "@name"."""
    return {"match": {"op": op, "left": left, "right": right}}


def ct_status(status: str) -> Expression:
    """Go on only if the packet's connection has that status bit: dnat."""
    return match({"ct": {"key": "status"}}, status, op="in")


def ct_state(*states: str) -> Expression:
    """Go on only if the packet is in one of those states towards its connection."""
    return match({"ct": {"key": "state"}}, list(states), op="in")


def to_this_host() -> Expression:
    """Go on only if the destination is an address of this host."""
    return match({"fib": {"result": "type", "flags": ["daddr"]}}, "local")


def goto(chain: str) -> Expression:
    """Continue in another chain, and don't come back."""
    return {"goto": {"target": chain}}


def jump(chain: str) -> Expression:
    """Continue in another chain, and come back at its end."""
    return {"jump": {"target": chain}}


def verdict_of(key: Expression, data: Any) -> Expression:
    """The verdict that a map ("@name", or {"set": [...]}) holds for a key; go on if it holds none."""
    return {"vmap": {"key": key, "data": data}}


def looked_up(key: Expression, name: str) -> Expression:
    """What a map holds for a key; a rule that uses it does not match if the map holds nothing."""
    return {"map": {"key": key, "data": f"@{name}"}}


def dnat(family: str, address: Expression, port: Expression) -> Expression:
    """Translate the destination to that address and port. `family`: ip or ip6."""
    return {"dnat": {"family": family, "addr": address, "port": port}}
