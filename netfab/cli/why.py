"""`why`: whether one node reaches another, by which way, and what is wrong where not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from netfab.cli import complete
from netfab.cli.context import output_json, where_of
from netfab.cli.files import far_nodes

if TYPE_CHECKING:
    from netfab.topology.schema import Check
    from netfab.why import Answer


@click.command("why")
@output_json
@click.argument("source", metavar="A", shell_complete=complete.nodes)
@click.argument("target", metavar="B", shell_complete=complete.nodes)
@click.argument("port", required=False, metavar="[tcp/80]")
@click.pass_context
def why_command(ctx: click.Context, output: str, source: str, target: str, port: str | None) -> None:
    """Say whether A reaches B, by which way; and where not, the first thing that is wrong and its cure.

    A is NODE or FABRIC/NODE; B a node, an address, `host` or `internet`. Exits with 1 where it does not.
    """
    from netfab.cli import show
    from netfab.why import lines, step

    where = where_of(ctx)
    fabric, _, source = source.rpartition("/")
    check = _check(source, target.rpartition("/")[2], port)
    answer = _answer(fabric, check, where)
    data = {
        "version": 1,
        "reaches": answer.reaches,
        "way": [step(hop) for hop in answer.hops],
        "cause": answer.cause._asdict() if answer.cause else None,
    }
    if output != "table":
        show.show_data(data, output, list)
    else:
        for line in lines(check, answer):
            click.echo(show.printable(line))
    raise SystemExit(0 if answer.reaches and answer.cause is None else 1)


def _check(source: str, target: str, port: str | None) -> Check:
    from netfab.errors import Location
    from netfab.topology.checks import parsed_check
    from netfab.topology.grammar import Wrong

    try:
        return parsed_check(
            f"{source} reaches {target}{f' on {port}' if port else ''}",
            Location("the command line", 1, 1, ""),
        )
    except Wrong as wrong:
        raise click.UsageError(str(wrong)) from wrong


def _answer(fabric: str, check: Check, where: Any) -> Answer:
    from netfab.looking import Here
    from netfab.nodes import node_of
    from netfab.why import why

    if far := far_nodes([f"{fabric}/{check.source}" if fabric else check.source], where):
        from netfab.remote.asking import There
        from netfab.remote.party import party

        ((_, there),) = far.items()
        with party(there.entry.hosts, where) as together:
            hosts = {host: There(together, host, there.entry.name) for host in there.entry.hosts}
            return why(check, there.entry.name, there.entry.summary, hosts)
    if check.source == "host":
        return _from_the_host(fabric, check, where)
    record, _, _ = node_of(f"{fabric}/{check.source}" if fabric else check.source, where)
    return why(check, record.name, json.loads(record.summary), {"": Here(record.name, where)})


def _from_the_host(fabric: str, check: Check, where: Any) -> Answer:
    """A is the host: the fabric is that of B."""
    from netfab.looking import Here
    from netfab.nodes import node_of
    from netfab.why import why

    record, _, _ = node_of(f"{fabric}/{check.target}" if fabric else check.target, where)
    return why(check, record.name, json.loads(record.summary), {"": Here(record.name, where)})
