"""Docker's verbs that are about containers one by one: wait, rm, prune, stats, cp."""

from __future__ import annotations

import sys

import click

from netfab.cli import complete
from netfab.cli.context import where_of
from netfab.cli.options import lock_option
from netfab.errors import NetfabError

_nodes = click.argument("nodes", nargs=-1, required=True, metavar="NODE…", shell_complete=complete.nodes)


@click.command("wait")
@_nodes
@click.pass_context
def wait_command(ctx: click.Context, nodes: tuple[str, ...]) -> None:
    """Wait until the programs of NODEs have ended and are not started again; print their exit codes."""
    from netfab import lifecycle

    for code in lifecycle.wait(nodes, where_of(ctx)):
        click.echo("unknown" if code is None else str(code))


@click.command("rm")
@click.option("-f", "--force", is_flag=True, help="Also those that run: they are killed.")
@lock_option
@_nodes
@click.pass_context
def rm_command(ctx: click.Context, force: bool, lock_timeout: float, nodes: tuple[str, ...]) -> None:
    """Leave nothing of containers that `run` made."""
    from netfab import containers

    containers.remove(nodes, where_of(ctx, lock_timeout), force)
    if not ctx.obj["quiet"]:
        for node in nodes:
            click.echo(node)


@click.command("prune")
@click.option("-f", "--force", is_flag=True, help="Don't ask.")
@lock_option
@click.pass_context
def prune_command(ctx: click.Context, force: bool, lock_timeout: float) -> None:
    """Remove all containers of `run` that don't run."""
    from netfab import containers

    if not force:
        click.echo("remove all containers that have ended? [y/N]: ", nl=False, err=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise NetfabError("nothing was removed", hint="--force does not ask")
    for name in containers.prune(where_of(ctx, lock_timeout)):
        click.echo(name)
