"""Docker's verbs that are about containers one by one: wait, rm, prune, stats, cp."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from netfab.cli import complete
from netfab.cli.context import agreed, output_json, where_of
from netfab.cli.files import every_far_node, far_nodes
from netfab.cli.options import lock_option
from netfab.errors import NetfabError, NotAll

if TYPE_CHECKING:
    from netfab.nodes.stats import Uses
    from netfab.remote.nodes import There

_nodes = click.argument("nodes", nargs=-1, required=True, metavar="NODE…", shell_complete=complete.nodes)


@click.command("wait")
@_nodes
@click.pass_context
def wait_command(ctx: click.Context, nodes: tuple[str, ...]) -> None:
    """Wait until the programs of NODEs have ended and are not started again; print their exit codes."""
    from netfab.nodes import lifecycle

    where = where_of(ctx)
    far = far_nodes(nodes, where)
    codes = lifecycle.wait([node for node in nodes if node not in far], where)
    for node in nodes:
        code = _far_code(far[node], where) if node in far else next(codes)
        click.echo("unknown" if code is None else str(code))


def _far_code(there: There, where: Any) -> int | None:
    from netfab.remote.nodes import wait

    return wait(there, where)


@click.command("rm")
@click.option("-f", "--force", is_flag=True, help="Kill those that run; a missing one is no error.")
@lock_option
@_nodes
@click.pass_context
def rm_command(ctx: click.Context, force: bool, lock_timeout: float, nodes: tuple[str, ...]) -> None:
    """Leave nothing of containers that `run` made."""
    from netfab.imperative import containers

    try:
        _say(ctx, containers.remove(nodes, where_of(ctx, lock_timeout), force))
    except NotAll as error:
        _say(ctx, error.done)
        raise


def _say(ctx: click.Context, nodes: Iterable[str]) -> None:
    if not ctx.obj["quiet"]:
        for node in nodes:
            click.echo(node)


@click.command("prune")
@click.option("-a", "--all", "everything", is_flag=True, help="All images that no fabric uses.")
@click.option("-f", "--force", is_flag=True, help="Don't ask.")
@lock_option
@click.pass_context
def prune_command(ctx: click.Context, everything: bool, force: bool, lock_timeout: float) -> None:
    """Remove all containers of `run` that don't run; then images without a name that no fabric uses."""
    from netfab.applying.pulling import used
    from netfab.cli.images import say_removed, size
    from netfab.images.removal import prune
    from netfab.imperative import containers

    where = where_of(ctx, lock_timeout)
    if not force and not agreed("remove what has ended and what nothing uses?"):
        raise NetfabError("nothing was removed", hint="--force does not ask")
    for name in containers.prune(where):
        click.echo(f"Deleted: {name}")
    removed = prune(where, lambda: used(where), everything)
    say_removed(removed)
    click.echo(f"Total reclaimed space: {size(removed.bytes)}")


@click.command("stats")
@click.option("--no-stream", "once", is_flag=True, help="Only once.")
@output_json
@click.argument("nodes", nargs=-1, metavar="[NODE]...", shell_complete=complete.nodes)
@click.pass_context
def stats_command(ctx: click.Context, once: bool, output: str, nodes: tuple[str, ...]) -> None:
    """Show what the programs of NODEs use, every second until it is ended; of all that run.

    CPU is of one processor, what was received and sent since the node's network was made.
    """
    from netfab.cli import show
    from netfab.nodes.stats import stats

    with _usage(nodes, where_of(ctx)) as (used, hosts):
        for rows in stats(used):
            found = [{**one, **hosts.get((one["fabric"], one["node"]), {})} for one in rows]
            if sys.stdout.isatty() and not once and output == "table":
                click.clear()
            show.show_data({"version": 1, "nodes": found}, output, partial(_stats_rows, found))
            if once:
                return


@contextmanager
def _usage(
    nodes: tuple[str, ...], where: Any
) -> Iterator[tuple[Callable[[], Uses], Mapping[tuple[str, str], Mapping[str, str]]]]:
    """The usage of nodes, and the hosts of those of a fabric on several.

    No nodes: all of this host, and of the hosts that it controls.
    """
    from netfab.nodes.stats import usage

    far = far_nodes(nodes, where) if nodes else every_far_node(where)
    here = [node for node in nodes if node not in far] if nodes else None
    if not far:
        yield lambda: usage(here, where), {}
        return
    from netfab.remote.nodes import usage as far_usage

    hosts = {(one.entry.name, one.node): {"host": one.host} for one in far.values()}
    with far_usage(far.values(), where) as used:
        yield lambda: {**usage(here, where), **used()}, hosts


def _stats_rows(found: Sequence[dict[str, Any]]) -> Iterator[Sequence[str]]:
    from netfab.cli import show
    from netfab.topology.grammar import size_text

    hosts = any("host" in one for one in found)
    yield *["HOST"] * hosts, "FABRIC", "NODE", "CPU %", "MEMORY", "LIMIT", "RECEIVED", "SENT", "PIDS"
    for one in found:
        yield (
            *[one.get("host", "-")] * hosts,
            one["fabric"],
            one["node"],
            f"{one['cpu_percent']:.2f}",
            show.size(one["memory"]),
            size_text(one["memory_limit"]) if one["memory_limit"] else "-",
            show.size(one["received"]),
            show.size(one["sent"]),
            str(one["pids"]),
        )


@click.command("cp")
@click.argument("source", metavar="SOURCE|NODE:PATH")
@click.argument("target", metavar="NODE:PATH|TARGET")
@click.pass_context
def cp_command(ctx: click.Context, source: str, target: str) -> None:
    """Copy files between a node that runs and this host, as docker does; links are copied, not followed.

    Devices, pipes and sockets are left out, and no set-user-ID bit is taken along. `DIR/.` is what is in DIR.
    """
    from netfab.cli.show import printable

    if "-" in (source, target):
        raise NetfabError(
            "docker's `-`, a tar stream, is not here",
            hint="`netfab exec NODE tar -c PATH` writes one, `netfab exec -i NODE tar -x` reads one;"
            " `./-` is a file of that name",
        )
    where, (out, inner) = where_of(ctx), (_of_node(source), _of_node(target))
    if (out is None) == (inner is None):
        raise click.UsageError("one of the two must be NODE:PATH, and the other a path on this host")
    left_out = _copied_out(*out, target, where) if out else _copied_in(source, *(inner or ("", "")), where)
    for name in left_out:
        click.echo(printable(f"{name} is not a file, directory or link, and was left out"), err=True)


def _copied_out(node: str, path: str, target: str, where: Any) -> list[str]:
    if far := far_nodes([node], where):
        from netfab.remote.nodes import copy_out as copy_out_there

        return copy_out_there(far[node], path, target, where)
    from netfab.nodes.copying import copy_out

    return copy_out(node, path, target, where)


def _copied_in(source: str, node: str, path: str, where: Any) -> list[str]:
    if far := far_nodes([node], where):
        from netfab.remote.nodes import copy_in as copy_in_there

        return copy_in_there(source, far[node], path, where)
    from netfab.nodes.copying import copy_in

    return copy_in(source, node, path, where)


def _of_node(text: str) -> tuple[str, str] | None:
    """NODE:PATH; a local path with a colon looks the same, unless it begins with `/` or `.`."""
    node, colon, path = text.partition(":")
    if not (colon and node) or text[0] in "/.":
        return None
    if not path:
        raise click.UsageError(f"which file of {node}? `{node}:/` is all of them")
    return node, path
