"""The opening exchange with all hosts of a fabric: who answers, what it knows, and missed decisions."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from netfab.errors import NetfabError, raise_all
from netfab.objects.decode import plain
from netfab.plan.facts import Asked
from netfab.remote.answers import Hello, hello, read_all
from netfab.remote.messages import PROTOCOL
from netfab.remote.orders import last_of
from netfab.remote.party import Party, answers, unreachable

_STILL = "`--skip-unreachable` where it comes back, `--forget {host}` where it never does"
_WITHOUT = "`--skip-unreachable` leaves it as it is, until a later apply"


def greeted(
    together: Party,
    name: str,
    asked: Mapping[str, Asked] = {},
    skip_unreachable: bool = False,
    gone: Collection[str] = (),
    optional: Collection[str] = (),
    skipped: Collection[str] = (),
) -> dict[str, Hello]:
    """Every host's `hello`; hosts that are not reached are left out, or are an error.

    With `skip_unreachable` they are one only if no host is reached; `optional` hosts never are.
    `gone`: hosts that can be forgotten; `skipped`: hosts that could be left out.
    """
    about = {"verb": "hello", "fabric": name}
    said = together.ask(
        {host: {**about, "asked": plain(asked.get(host, Asked()))} for host in together.channels}
    )
    away = unreachable(said)
    out = set(away) if skip_unreachable and len(away) < len(said) else away.keys() & {*optional}
    for host in away.keys() & {*gone, *skipped}:
        away[host].hint = away[host].hint or (_STILL if host in gone else _WITHOUT).format(host=host)
    together.leave_out(out)
    found = answers({host: answer for host, answer in said.items() if host not in out})
    raise_all(
        NetfabError(f"{host} speaks version {answer.get('protocol')} of the protocol, and we {PROTOCOL}")
        for host, answer in found.items()
        if answer.get("protocol") != PROTOCOL
    )
    return read_all(found, hello)


def forgotten(host: str, fabric: str) -> str:
    """The warning about a host that is forgotten although it was not reached."""
    return (
        f"{host} is forgotten, unreached: what it has of {fabric} stays there;"
        f" should it come back, `netfab destroy {fabric}` on it ends that"
    )


def tell_what_was_decided(together: Party, name: str, said: Mapping[str, Hello]) -> dict[str, Hello]:
    """Send the commit to hosts that applied a transaction and missed it, if another host has it.

    Returns the updated answers.
    """
    decided = {answer.transaction for answer in said.values()} - {""}
    late = {host: answer for host, answer in said.items() if answer.undecided in decided}
    commit = {"verb": "commit", "fabric": name}
    together.ask_all({host: {**commit, "transaction": late[host].undecided} for host in late})
    generation = last_of(said).generation if late else 0
    return {**said, **{host: answer._replace(generation=generation) for host, answer in late.items()}}
