"""nft's JSON as the text that people read, for golden tests: only the words that our rules use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from netfab.objects.firewall import Chain, Firewall, Rule, Set


def table_text(table: Firewall) -> str:
    """A whole table, nearly as `nft list table` prints it."""
    lines = [f"table {table.family} {table.table}"]
    for held in table.sets:
        lines += _set(held)
    for chain in table.chains:
        lines += _chain(chain)
    return "\n".join(lines) + "\n"


def _set(held: Set) -> Iterator[str]:
    types = " . ".join(held.key) + (f" : {' . '.join(held.data)}" if held.data else "")
    words = [held.kind, held.name, f"{{{types}}}", *held.flags, *(["counter"] if held.counted else [])]
    yield "  " + " ".join(words)
    for element in held.elements:
        size = len(held.key)
        data = f" : {' . '.join(element[size:])}" if held.data else ""
        yield f"    {' . '.join(element[:size])}{data}"


def _chain(chain: Chain) -> Iterator[str]:
    hook = f" {chain.type} {chain.hook} {chain.priority} {chain.policy}" if chain.hook else ""
    yield f"  chain {chain.name}{hook}"
    for rule in chain.rules:
        yield f"    {rule_text(rule)}"


def rule_text(rule: Rule) -> str:
    """One rule."""
    return " ".join(map(_word, json.loads(rule.expressions)))


def _word(said: Any) -> str:
    match said:
        case {"match": {"left": {"ct": {"key": key}}, "right": bits}}:
            return f"ct {key} {bits if isinstance(bits, str) else ','.join(bits)}"
        case {"match": {"left": left, "right": right, "op": op}}:
            return f"{_word(left)} {op} {_word(right)}".replace(" == @", " @")
        case {"fib": {"result": result, "flags": flags}}:
            return f"fib {' '.join(flags)} {result}"
        case {"payload": {"protocol": protocol, "field": field}}:
            return f"{protocol} {field}"
        case {"payload": {"base": base, "offset": offset, "len": length}}:
            return f"@{base},{offset},{length}"
        case {"concat": parts}:
            return " . ".join(map(_word, parts))
        case {"&": [left, mask]}:
            return f"{_word(left)} & {mask if isinstance(mask, str) else hex(mask)}"
        case {"prefix": {"addr": address, "len": length}}:
            return f"{address}/{length}"
        case {"set": members}:
            return f"{{{', '.join(map(_word, members))}}}"
        case [key, verdict]:
            return f"{_word(key)}: {_word(verdict)}"
        case {"vmap": {"key": key, "data": data}} | {"map": {"key": key, "data": data}}:
            return f"{_word(key)} -> {_word(data)}"
        case {"dnat": {"family": family, "addr": address, "port": port}}:
            return f"dnat {family} to ({_word(address)}) : ({_word(port)})"
        case {"goto": {"target": chain}} | {"jump": {"target": chain}}:
            return f"{next(iter(said))} {chain}"
        case {}:
            return " ".join(said)
        case int() if said > 0xFFFF:
            return f"{said:#x}"
        case _:
            return str(said)
