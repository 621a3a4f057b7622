"""A firewall table: written, read from what nft prints, changed, and told from what others made of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from netfab.objects.base import Dump, Fabric
from netfab.objects.expressions import ACCEPT, DROP, goto, match, meta, verdict_of
from netfab.objects.firewall import Chain, Firewall, Rule, Set, dropped
from netfab.objects.kinds import KINDS

DROP_ALL, BY_PORT = Rule.of(DROP), Rule.of(verdict_of(meta("iifname"), "@ports"))
TABLE = Firewall(
    "bridge",
    "netfab-shop",
    (
        Chain("refuse", (DROP_ALL,)),
        Chain("prerouting", (BY_PORT, DROP_ALL), "filter", "prerouting", -300, "accept"),
    ),
    (
        Set("ports", ("ifname", "ether_addr"), ("verdict",)).holding(
            [("nf1", "02:00:00:00:00:01", "goto refuse"), ("nf2", "02:00:00:00:00:02", "accept")]
        ),
        Set("routed", ("ifname", "ipv4_addr"), flags=("interval",)).holding([("nf1", "10.0.0.0/8")]),
        Set("guarded", ("ifname",), counted=True).holding([("nf1",)]),
        Set("asked", ("inet_proto", "inet_service"), ("ipv4_addr",)).holding([("tcp", "80", "10.0.0.2")]),
    ),
)
# As nft 1.0.6 prints that table.
HERE = {"family": "bridge", "table": "netfab-shop"}
PRINTED: list[dict[str, Any]] = [
    {"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version": 1}},
    {"table": {"family": "bridge", "name": "netfab-shop", "handle": 7}},
    {
        "map": {
            **HERE,
            "name": "ports",
            "type": ["ifname", "ether_addr"],
            "handle": 3,
            "map": "verdict",
            "elem": [
                [{"concat": ["nf2", "02:00:00:00:00:02"]}, {"accept": None}],
                [{"concat": ["nf1", "02:00:00:00:00:01"]}, {"goto": {"target": "refuse"}}],
            ],
        }
    },
    {
        "set": {
            **HERE,
            "name": "routed",
            "type": ["ifname", "ipv4_addr"],
            "handle": 4,
            "flags": ["interval"],
            "elem": [{"concat": ["nf1", {"prefix": {"addr": "10.0.0.0", "len": 8}}]}],
        }
    },
    {
        "set": {
            **HERE,
            "name": "guarded",
            "type": "ifname",
            "handle": 5,
            "stmt": [{"counter": None}],
            "elem": [{"elem": {"val": "nf1", "counter": {"packets": 7, "bytes": 420}}}],
        }
    },
    {
        "map": {
            **HERE,
            "name": "asked",
            "type": ["inet_proto", "inet_service"],
            "handle": 6,
            "map": "ipv4_addr",
            "elem": [[{"concat": ["tcp", 80]}, "10.0.0.2"]],
        }
    },
    {"chain": {**HERE, "name": "refuse", "handle": 1}},
    {
        "chain": {
            **HERE,
            "name": "prerouting",
            "handle": 2,
            "type": "filter",
            "hook": "prerouting",
            "prio": -300,
            "policy": "accept",
        }
    },
    {"rule": {**HERE, "chain": "refuse", "handle": 9, "comment": DROP_ALL.comment, "expr": [{"drop": None}]}},
    {
        "rule": {
            **HERE,
            "chain": "prerouting",
            "handle": 10,
            "comment": BY_PORT.comment,
            "expr": [{"vmap": {"key": {"meta": {"key": "iifname"}}, "data": "@ports"}}],
        }
    },
    {
        "rule": {
            **HERE,
            "chain": "prerouting",
            "handle": 11,
            "comment": DROP_ALL.comment,
            "expr": [{"drop": None}],
        }
    },
]


def read(printed: list[dict[str, Any]] = PRINTED) -> Firewall:
    tables = [{"nftables": printed}]
    (found,) = Firewall.read(Dump("shop", {}, {}, [], set(), {}, {}, {}, tables=tables))
    return found


def changed(index: int, kind: str, **fields: Any) -> list[dict[str, Any]]:
    """What is printed, with other fields in one thing."""
    printed = list(PRINTED)
    printed[index] = {kind: {**printed[index][kind], **fields}}
    return printed


def commands(ops: list[Any]) -> list[tuple[str, str]]:
    """(verb, kind) of each command of a transaction."""
    (op,) = ops
    return [
        (verb, kind)
        for item in json.loads(op.commands)["nftables"]
        for verb, body in item.items()
        for kind in body
    ]


def test_a_table_is_read_as_it_was_written() -> None:
    assert read() == TABLE


def test_a_table_goes_through_json() -> None:
    fabric = Fabric("shop", [TABLE])

    assert Fabric.from_json(fabric.to_json(), KINDS) == fabric


def test_a_table_that_was_read_can_be_written_again() -> None:
    assert commands(read().create()) == commands(TABLE.create())


def test_chains_are_made_before_the_verdicts_that_name_them() -> None:
    kinds = [kind for _, kind in commands(TABLE.create())]

    assert kinds == ["table", *["chain"] * 3, "map", "set", "set", "map", "rule", "rule", "rule"]


@pytest.mark.parametrize(
    ("what", "printed"),
    [
        ("a rule less", PRINTED[:-1]),
        ("a rule more", [*PRINTED, PRINTED[-1]]),
        ("rules in another order", [*PRINTED[:-2], PRINTED[-1], PRINTED[-2]]),
        ("a rule of others", changed(10, "rule", comment="mine")),
        ("a rule without its comment", changed(10, "rule", comment="")),
        ("another policy", changed(7, "chain", policy="drop")),
        ("another hook", changed(7, "chain", hook="forward")),
        ("another priority", changed(7, "chain", prio=0)),
        ("another type", changed(7, "chain", type="route")),
        ("a table switched off", changed(1, "table", flags="bridge")),
        ("an element less", changed(3, "set", elem=[])),
        ("an element more", changed(4, "set", elem=["nf1", "nf9"])),
        (
            "another verdict",
            changed(2, "map", elem=[[{"concat": ["nf1", "02:00:00:00:00:01"]}, {"drop": None}]]),
        ),
        (
            "another prefix",
            changed(3, "set", elem=[{"concat": ["nf1", {"prefix": {"addr": "10.0.0.0", "len": 9}}]}]),
        ),
        ("a range", changed(3, "set", elem=[{"concat": ["nf1", {"range": ["10.0.0.0", "10.0.0.9"]}]}])),
        ("a catch-all", changed(2, "map", elem=[["*", {"accept": None}]])),
        ("a set of another type", changed(4, "set", type="mark")),
        ("a set of other flags", changed(3, "set", flags=["interval", "timeout"])),
        ("a set more", [*PRINTED, {"set": {**HERE, "name": "more", "type": "ifname", "handle": 12}}]),
        ("a chain more", [*PRINTED, {"chain": {**HERE, "name": "more", "handle": 12}}]),
    ],
)
def test_what_others_changed_is_a_difference(what: str, printed: list[dict[str, Any]]) -> None:
    assert read(printed) != TABLE


def test_what_others_added_can_be_put_back_as_it_was() -> None:
    printed = changed(3, "set", elem=[{"concat": ["nf1", {"range": ["10.0.0.0", "10.0.0.9"]}]}])
    printed = [*printed, {"rule": {**HERE, "chain": "refuse", "handle": 12, "expr": [{"accept": None}]}}]

    (op,) = read(printed).create()

    assert '{"concat":["nf1",{"range":["10.0.0.0","10.0.0.9"]}]}' in op.commands
    assert '"chain":"refuse","expr":[{"accept":null}]' in op.commands


def test_counters_and_one_flag_as_a_word_are_no_difference() -> None:
    printed = changed(3, "set", flags="interval")  # as nft 1.1.2 prints it

    assert read(printed) == TABLE


def test_a_protocol_that_has_no_name_on_this_system_is_no_difference() -> None:
    assert read(changed(5, "map", elem=[[{"concat": [6, 80]}, "10.0.0.2"]])) == TABLE


def test_other_elements_are_exchanged_without_touching_rules() -> None:
    ports = TABLE.sets[0].holding(
        [("nf1", "02:00:00:00:00:01", "accept"), ("nf2", "02:00:00:00:00:02", "accept")]
    )
    after = TABLE._replace(sets=(ports, *TABLE.sets[1:]))

    (op,) = after.update(TABLE)

    key = {"concat": ["nf1", "02:00:00:00:00:01"]}
    here = {"family": "bridge", "table": "netfab-shop", "name": "ports"}
    assert json.loads(op.commands)["nftables"] == [
        {"delete": {"element": {**here, "elem": [[key, {"goto": {"target": "refuse"}}]]}}},
        {"add": {"element": {**here, "elem": [[key, {"accept": None}]]}}},
    ]


def test_a_chain_with_other_rules_gets_them_anew_while_the_table_stands() -> None:
    after = TABLE._replace(chains=(Chain("refuse", (Rule.of(ACCEPT),)), TABLE.chains[1]))

    (op,) = after.update(TABLE)

    flush, add = json.loads(op.commands)["nftables"]
    assert flush == {"flush": {"chain": {**HERE, "name": "refuse"}}}
    assert add["add"]["rule"]["expr"] == [ACCEPT]


@pytest.mark.parametrize(
    "after",
    [
        TABLE._replace(chains=TABLE.chains[:1]),
        TABLE._replace(chains=(TABLE.chains[0], TABLE.chains[1]._replace(policy="drop"))),
        TABLE._replace(sets=TABLE.sets[1:]),
        TABLE._replace(dormant=True),
    ],
)
def test_any_other_difference_replaces_the_table_in_one_transaction(after: Firewall) -> None:
    assert commands(TABLE.update(after)) == [("delete", "table"), *commands(TABLE.create())]


def test_a_rule_is_known_by_its_comment() -> None:
    written = Rule.of(match(meta("iifgroup"), 5), goto("refuse"))
    printed = Rule(written.comment, '[{"another":"way to say it"}]')

    assert written == printed
    assert (written != printed) is False
    assert hash(written) == hash(printed)
    assert written != Rule("", written.expressions)


def test_a_table_ends_by_its_name() -> None:
    assert [(op.family, op.table) for op in TABLE.delete()] == [("bridge", "netfab-shop")]


def test_drops_are_read_by_port() -> None:
    assert dropped([{"nftables": PRINTED}], "guarded") == {"nf1": 7}
