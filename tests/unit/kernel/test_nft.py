"""What nft prints and complains of, without running it."""

from __future__ import annotations

from errno import EEXIST, EINVAL, ENOENT, EPERM
from typing import Any

import pytest

from netfab.kernel.nft import ForwardDrop, _errno_of, _reason_of, forward_drops


def chain(name: str = "FORWARD", table: str = "filter", **fields: Any) -> dict[str, Any]:
    base = {"family": "ip", "table": table, "name": name, "type": "filter", "hook": "forward", "prio": 0}
    return {"chain": {**base, "policy": "accept", **fields}}


def rule(*expressions: dict[str, Any], name: str = "FORWARD") -> dict[str, Any]:
    return {
        "rule": {"family": "ip", "table": "filter", "chain": name, "handle": 1, "expr": list(expressions)}
    }


DROP, REJECT, COUNT = {"drop": None}, {"reject": None}, {"counter": {"packets": 0, "bytes": 0}}
ONLY_TCP = {"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "tcp"}}


@pytest.mark.parametrize("rules", [[rule(DROP)], [rule(COUNT, DROP)], [rule({"log": None}, REJECT)]])
def test_a_chain_whose_rule_drops_everything_is_found(rules: list[Any]) -> None:
    found = list(forward_drops([chain(), *rules]))

    assert found == [ForwardDrop("ip", "filter", "FORWARD", "a rule of it drops everything", False)]


def test_a_policy_is_found_and_that_docker_leaves_room_for_others() -> None:
    found = list(
        forward_drops(
            [chain(policy="drop"), {"chain": {"family": "ip", "table": "filter", "name": "DOCKER-USER"}}]
        )
    )

    assert found == [ForwardDrop("ip", "filter", "FORWARD", "its policy is drop", True)]


@pytest.mark.parametrize(
    "ruleset",
    [
        [chain()],
        [chain(), rule(ONLY_TCP, DROP)],
        [chain(hook="input", policy="drop")],
        [chain(), chain("OTHER", hook="input"), rule(DROP, name="OTHER")],
        [chain(table="netfab-shop", policy="drop")],
    ],
)
def test_what_does_not_stop_all_that_is_forwarded_is_no_drop(ruleset: list[Any]) -> None:
    assert list(forward_drops(ruleset)) == []


@pytest.mark.parametrize(
    ("words", "errno", "reason"),
    [
        (
            "internal:0:0-0: Error: Could not process rule: File exists\n\n",
            EEXIST,
            "Could not process rule: File exists",
        ),
        ("Error: No such file or directory\nlist table inet x\n", ENOENT, "No such file or directory"),
        ("Operation not permitted (you must be root)\n", EPERM, "Operation not permitted (you must be root)"),
        ("internal:0:0-0: Error: set is not a map\n", EINVAL, "set is not a map"),
        ("", EINVAL, ""),
    ],
)
def test_nft_s_complaints_have_an_errno_and_its_own_words(words: str, errno: int, reason: str) -> None:
    assert (_errno_of(words), _reason_of(words)) == (errno, reason)
