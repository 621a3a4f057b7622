"""Commands that start, stop, signal and pause nodes' programs; each prints its nodes, as docker does."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable
from typing import Any

import click

from netfab.cli import complete
from netfab.cli.context import where_of
from netfab.cli.files import far_nodes
from netfab.errors import Interrupted, NetfabError, NotAll, raise_rest

_nodes = click.argument("nodes", nargs=-1, required=True, metavar="NODE…", shell_complete=complete.nodes)
_timeout = click.option(
    "-t",
    "--time",
    "--timeout",
    "timeout",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    help="Seconds before a program that does not stop is killed.",
)


def _signal(_: click.Context, __: click.Parameter, text: str) -> int:
    """A number, or a name with or without SIG."""
    name = text.upper().removeprefix("SIG")
    if name.isdecimal() and 0 < int(name) <= signal.SIGRTMAX:
        return int(name)
    try:
        return signal.Signals[f"SIG{name}"]
    except KeyError:
        raise click.BadParameter(f"there is no signal {text}") from None


def _act(ctx: click.Context, verb: str, nodes: tuple[str, ...], **more: Any) -> None:
    """Act on each node's host. Prints the nodes for which it succeeded, and raises the errors of others."""
    where = where_of(ctx)
    far = far_nodes(nodes, where)
    here = [node for node in nodes if node not in far]
    done, errors = list[str](), list[NetfabError]()
    if far:
        from netfab.remote.nodes import act

        called = {there.name: node for node, there in far.items()}
        found = _attempt(lambda: act(verb, far.values(), where, **more), called)
        done += (called[name] for name in found[0] if name in called)
        errors += found[1]
    if here:
        from netfab.nodes import lifecycle

        found = _attempt(lambda: getattr(lifecycle, verb)(here, where, **more), here)
        done += found[0]
        errors += found[1]
    if not ctx.obj["quiet"]:
        for node in nodes:
            if node in done:
                click.echo(node)
    raise_rest(errors, done)


def _attempt(
    action: Callable[[], object], nodes: Iterable[str]
) -> tuple[Iterable[str], tuple[NetfabError, ...]]:
    """The nodes for which it succeeded, and the errors of others."""
    try:
        action()
    except Interrupted:
        raise
    except NotAll as error:
        return error.done, (error,)
    except NetfabError as error:
        return (), (error,)
    return nodes, ()


@click.command("start")
@_nodes
@click.pass_context
def start_command(ctx: click.Context, nodes: tuple[str, ...]) -> None:
    """Start the programs of NODEs (or FABRIC/NODE) that have ended; returns when they are ready."""
    _act(ctx, "start", nodes)


@click.command("stop")
@_timeout
@_nodes
@click.pass_context
def stop_command(ctx: click.Context, timeout: float, nodes: tuple[str, ...]) -> None:
    """End the programs of NODEs: SIGTERM, and SIGKILL after a while.

    Namespaces and addresses stay. No restart policy applies until `start`, `apply` or the next boot.
    """
    _act(ctx, "stop", nodes, timeout=timeout)


@click.command("restart")
@_timeout
@_nodes
@click.pass_context
def restart_command(ctx: click.Context, timeout: float, nodes: tuple[str, ...]) -> None:
    """Stop the programs of NODEs, and start them; returns when they are ready."""
    _act(ctx, "restart", nodes, timeout=timeout)


@click.command("kill")
@click.option(
    "-s",
    "--signal",
    "number",
    default="KILL",
    show_default=True,
    callback=_signal,
    help="Its name or number.",
)
@_nodes
@click.pass_context
def kill_command(ctx: click.Context, number: int, nodes: tuple[str, ...]) -> None:
    """Send a signal to the programs of NODEs.

    One that ends a program (KILL, and TERM where it is handled) is a stop: no restart policy applies.
    """
    _act(ctx, "kill", nodes, number=number)


@click.command("pause")
@_nodes
@click.pass_context
def pause_command(ctx: click.Context, nodes: tuple[str, ...]) -> None:
    """Halt all processes of NODEs where they are, until `unpause` or `apply`."""
    _act(ctx, "pause", nodes)


@click.command("unpause")
@_nodes
@click.pass_context
def unpause_command(ctx: click.Context, nodes: tuple[str, ...]) -> None:
    """Let the processes of NODEs go on."""
    _act(ctx, "unpause", nodes)
