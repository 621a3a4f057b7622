"""Chains of others that would drop what this host forwards or receives: nft's, and those of legacy iptables.

A drop in any base chain is final, whatever our own table accepts. Only reads.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from errno import EINVAL
from typing import Any

from netfab.errors import ForeignObject, KernelRefused
from netfab.kernel import nft
from netfab.objects.firewall import table_name
from netfab.system.proc import text_of
from netfab.tuples import NamedTuple

LEGACY = {"ip_tables_names": "iptables-legacy", "ip6_tables_names": "ip6tables-legacy"}  # /proc/net -> tool
DIRECTORIES = "/usr/sbin", "/sbin"


class Drop(NamedTuple):
    """A foreign base chain that drops packets at its hook."""

    table: str  # with the tool that shows it: "nft table ip filter"
    chain: str
    why: str  # in words: "its policy is drop"
    docker_user: bool = False  # whether the table has DOCKER-USER, Docker's chain for rules of others
    accepted: frozenset[str] = frozenset()  # interfaces that rules of the table accept by name


def foreign_drops(bridges: frozenset[str]) -> list[ForeignObject]:
    """Foreign chains that would drop what these bridges forward.

    Not Docker's, where we add accepting rules ourselves, nor those of a table with a rule that accepts
    them by name.
    """
    names = ", ".join(sorted(bridges))
    rules = nft.ruleset() if nft.others_see_what_is_forwarded() else []
    return [
        ForeignObject(
            f"chain {drop.chain} of {drop.table} drops what this host forwards: {drop.why}",
            hint="a drop is final, whatever netfab's own table accepts:"
            f" add rules to {drop.table} that accept {names} (as incoming and as outgoing interface),"
            " or use networks without a way out (`internal: true`)",
        )
        for drop in (*nft_drops(rules), *legacy_drops())
        if not drop.docker_user and not bridges <= drop.accepted
    ]


def sees_bridged_frames() -> bool:
    """Whether IP chains of this host also see, and may drop, traffic within one bridge."""
    for key in ("iptables", "ip6tables"):
        with suppress(OSError):
            if text_of(f"/proc/sys/net/bridge/bridge-nf-call-{key}").strip() == "1":
                return True
    return False


def input_drops() -> list[Drop]:
    """Foreign chains that drop input to this host itself, unless a rule of theirs accepts it."""
    return [*nft_drops(nft.ruleset(), "input"), *legacy_drops("INPUT")]


def nft_drops(ruleset: Iterable[Any], hook: str = "forward") -> Iterator[Drop]:
    """Foreign chains at that hook that end in a drop or a reject, in nft's listing."""
    things = [(kind, body) for item in ruleset for kind, body in item.items()]
    chains = [body for kind, body in things if kind == "chain"]
    docker = {(chain["family"], chain["table"]) for chain in chains if chain["name"] == "DOCKER-USER"}
    rules = [body for kind, body in things if kind == "rule"]
    final = {(rule["family"], rule["table"], rule["chain"]) for rule in rules if _ends(rule)}
    for chain in chains:
        if chain.get("hook") == hook and not chain["table"].startswith(table_name("")):
            family, table = chain["family"], chain["table"]
            if why := _why(chain.get("policy") == "drop", (family, table, chain["name"]) in final):
                accepted = frozenset(_accepted(rules, (family, table)))
                docker_user = (family, table) in docker
                yield Drop(f"nft table {family} {table}", chain["name"], why, docker_user, accepted)


def _why(policy: bool, rule: bool) -> str:
    """The reason in words; "" if nothing drops everything."""
    return "its policy is drop" if policy else "a rule of it drops everything" if rule else ""


def _accepted(rules: Iterable[Any], table: tuple[str, str]) -> Iterator[str]:
    """Interfaces that a rule of the table accepts by name."""
    for rule in rules:
        if (rule["family"], rule["table"]) == table and any("accept" in part for part in rule["expr"]):
            for part in rule["expr"]:
                match = part.get("match", {})
                if match.get("left", {}).get("meta", {}).get("key") in ("iifname", "oifname", "iif", "oif"):
                    right = match["right"]
                    several = right.get("set", []) if isinstance(right, dict) else [right]
                    yield from (name for name in map(_element, several) if isinstance(name, str))


def _element(said: Any) -> Any:
    """An element of a set, without its comment."""
    return said.get("elem", {}).get("val") if isinstance(said, dict) else said


def _ends(rule: Any) -> bool:
    """Whether a rule drops or rejects every packet."""
    kinds = [kind for expression in rule["expr"] for kind in expression]
    return bool(kinds) and kinds[-1] in ("drop", "reject") and set(kinds[:-1]) <= {"counter", "log"}


def legacy_drops(chain: str = "FORWARD") -> Iterator[Drop]:
    """Chains of iptables-legacy that end in a drop or a reject; none if that program is not installed.

    Raises KernelRefused.
    """
    for names, tool in LEGACY.items():
        try:
            with open(f"/proc/thread-self/net/{names}") as file:
                filtering = "filter" in file.read().split()
        except OSError:  # a kernel without them
            continue
        program = next((path for path in _programs(f"{tool}-save") if os.access(path, os.X_OK)), "")
        if filtering and program:
            yield from saved_drops(tool, _saved(program), chain)


def _programs(name: str) -> Iterator[str]:
    return (f"{directory}/{name}" for directory in DIRECTORIES)


def _saved(program: str) -> str:
    import subprocess  # only where such tables exist

    doing = f"{program} -t filter"
    try:
        done = subprocess.run(
            [program, "-t", "filter"], capture_output=True, text=True, errors="replace", timeout=30, env={}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KernelRefused(doing, EINVAL, str(error)) from error
    if done.returncode:
        raise KernelRefused(doing, EINVAL, done.stderr.strip())
    return done.stdout


def saved_drops(tool: str, saved: str, chain: str = "FORWARD") -> Iterator[Drop]:
    """What `legacy_drops` finds, from iptables-save's output for the filter table (iptables-save(8))."""
    lines = [_words(line) for line in saved.splitlines() if line[:1] in (":", "-")]
    policy = any(line[:2] == [f":{chain}", "DROP"] for line in lines)
    rules = [_without_comment(line[1:]) for line in lines if line[0] == "-A"]
    final = any(rule[:2] == [chain, "-j"] and rule[2] in ("DROP", "REJECT") for rule in rules)
    if why := _why(policy, final):
        named = (
            interface
            for rule in rules
            if rule[-2:] == ["-j", "ACCEPT"]
            for before, option, interface in zip(rule, rule[1:], rule[2:], strict=False)
            if option in ("-i", "-o") and before != "!"
        )
        yield Drop(f"{tool} table filter", chain, why, accepted=frozenset(named))


def _words(line: str) -> list[str]:
    from shlex import split  # as it quotes comments

    try:
        return split(line)
    except ValueError:  # a comment of several lines
        return line.split()


def _without_comment(rule: list[str]) -> list[str]:
    if "--comment" not in rule:
        return rule
    at = rule.index("--comment")  # after `-m comment`
    return rule[: at - 2] + rule[at + 2 :]
