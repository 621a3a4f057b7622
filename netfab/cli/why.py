"""`why`: whether one node reaches another, by which way, and what is wrong where not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from netfab.cli import complete
from netfab.cli.context import output_json, titles_of, where_of
from netfab.cli.files import far_nodes
from netfab.errors import NetfabError

if TYPE_CHECKING:
    from netfab.diagnose.answer import Answer
    from netfab.remote.nodes import There
    from netfab.topology.schema import Check


@click.command("why")
@output_json
@click.argument("source", metavar="A", shell_complete=complete.nodes)
@click.argument("target", metavar="B", shell_complete=complete.nodes)
@click.argument("port", required=False, metavar="[tcp/80]")
@click.pass_context
def why_command(ctx: click.Context, output: str, source: str, target: str, port: str | None) -> None:
    """Say whether A reaches B, by which way; and where not, the first thing that is wrong and its cure.

    A is NODE or FABRIC/NODE, a guest of `attach`, or `host`; of several hosts that is each, and one is called
    by its name. B is any of these, also of another fabric on this host, an address, or `internet`. Exits with
    1 where it does not.
    """
    from netfab.cli import show
    from netfab.diagnose.answer import lines, step
    from netfab.topology.adhoc import NAME

    where = where_of(ctx)
    fabric, source = _end(source, where)
    other, target = _end(target, where)
    check = _check(fabric, source, other, target, port)
    answer = _answer(fabric, other, check, where)
    data = {
        "version": 1,
        "reaches": answer.reaches,
        "way": [step(hop) for hop in answer.hops],
        "unseen": answer.unseen or None,
        "cause": {"what": answer.cause.what, "cure": answer.cause.cure} if answer.cause else None,
    }
    if output != "table":
        show.show_data(data, output, list)
    else:
        titles = titles_of(NAME, where) if NAME in (fabric, other) else {}
        for line in lines(check, answer):
            click.echo(show.printable(_in_words_of_people(line, titles)))
    raise SystemExit(0 if answer.reaches and answer.cause is None else 1)


def _end(word: str, where: Any) -> tuple[str, str]:
    """The fabric named or known, or "", and the end; a guest of `attach` by its label."""
    from netfab.nodes.by_name import guest_of
    from netfab.topology.adhoc import NAME

    if not far_nodes([word], where) and (label := guest_of(word, where)):
        return NAME, label
    fabric, _, end = word.rpartition("/")
    return fabric, end


def _in_words_of_people(line: str, titles: Mapping[str, str]) -> str:
    """With guests' displayed names instead of their labels, which have long ids."""
    for label, title in titles.items():
        line = line.replace(label, title)
    return line


def _check(fabric: str, source: str, other: str, target: str, port: str | None) -> Check:
    from netfab.errors import Location
    from netfab.topology.adhoc import NAME
    from netfab.topology.checks import parsed_check
    from netfab.topology.grammar import Wrong

    # A guest's label can't be in a sentence: it is put in afterwards.
    ends = "a" if fabric == NAME else source, "b" if other == NAME else target
    try:
        check = parsed_check(
            f"{ends[0]} reaches {ends[1]}{f' on {port}' if port else ''}",
            Location("the command line", 1, 1, ""),
        )
    except Wrong as wrong:
        raise click.UsageError(str(wrong)) from wrong
    return check._replace(source=source, target=target)


def _answer(fabric: str, other: str, check: Check, where: Any) -> Answer:
    """fabric, other: those of A and of B; "" if not named."""
    from netfab.diagnose.this_host import Here
    from netfab.diagnose.why import hosts_of, why
    from netfab.nodes.by_name import NoSuchNode, node_of

    source = f"{fabric}/{check.source}" if fabric else check.source
    end = f"{other}/{check.target}" if other else check.target
    if far := far_nodes([source], where) or _from_a_host(check.source, end, where):
        from netfab.remote.asking import There
        from netfab.remote.meeting import greeted
        from netfab.remote.party import party

        ((_, there),) = far.items()
        entry = there.entry
        if other not in ("", entry.name):
            raise NetfabError(
                f"{check.source} is of fabric {entry.name}, which is on several hosts,"
                f" and {check.target} of {other}",
                hint="name the address of B in its place",
            )
        needed = hosts_of(check, entry.summary, entry.hosts)
        with party(entry.hosts, where) as together:
            reached = greeted(together, entry.name, optional=entry.hosts.keys() - needed)
            hosts = {host: There(together, host, entry.name) for host in entry.hosts if host in reached}
            return why(check, entry.name, entry.summary, hosts, entry.file)
    if check.source == "host":  # the fabric is B's
        record, _, _ = node_of(end, where)
    else:
        record, _, _ = node_of(source, where)
    summary = json.loads(record.summary)
    if not other and check.target not in summary["nodes"]:
        with suppress(NoSuchNode):  # an address, `host`, `internet`, or unknown
            other = node_of(end, where)[0].name
            end = f"{other}/{end}"
    if other in ("", record.name):
        return why(check, record.name, summary, {"": Here(record.name, where)}, record.file)
    beside, _, _ = node_of(end, where)
    check = check._replace(target=f"{other}/{check.target}")
    both = _both(summary, other, json.loads(beside.summary))
    return why(check, record.name, both, {"": Here(record.name, where, other)}, record.file)


def _from_a_host(source: str, end: str, where: Any) -> dict[str, There]:
    """B, if it is of a fabric on several hosts, and A stands for one or all of these."""
    far = far_nodes([end], where)
    return {name: there for name, there in far.items() if source in ("host", *there.entry.hosts)}


def _both(summary: Mapping[str, Any], fabric: str, other: Mapping[str, Any]) -> dict[str, Any]:
    """The summary, including the nodes and networks of another fabric as FABRIC/NAME."""
    return {
        **summary,
        **{
            part: {**summary[part], **{f"{fabric}/{name}": found for name, found in other[part].items()}}
            for part in ("nodes", "networks")
        },
    }
