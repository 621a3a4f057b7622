"""What every command has: where netfab keeps what it knows, and the form of what is printed."""

from __future__ import annotations

import sys
from typing import Any

import click

from netfab.errors import NetfabError


def note_output(ctx: click.Context, _: click.Parameter, value: str | None) -> str | None:
    """Show errors in the same form as the output."""
    ctx.obj["output"] = value
    return value


output_json = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    callback=note_output,
    help="Print data in this form; errors, too, where it is json.",
)


def where_of(ctx: click.Context, lock_timeout: float = 60.0) -> Any:
    """The Where of fabric.py from the global options."""
    from netfab.cli.failures import printable
    from netfab.cli.show import progress_bar
    from netfab.where import Where

    options = ctx.obj

    def waiting(holder: str) -> None:
        if not options["quiet"]:
            click.echo(printable(f"waiting for {holder}"), err=True)

    where = Where(options["state_dir"], options["run_dir"], lock_timeout, waiting)
    if not options["quiet"]:
        where = where._replace(progress=progress_bar(), say=_say)
    if options["verbose"] > 1:
        where = where._replace(hook=_say_step)
    return where


def agreed(question: str) -> bool:
    """Whether the user says yes; the answer is a line on standard input."""
    click.echo(f"{question} [y/N]: ", nl=False, err=True)
    answer = sys.stdin.readline()
    if not answer:
        click.echo(err=True)  # at end-of-file the cursor is still on the line
    return answer.strip().lower() in ("y", "yes")


def need_terminal() -> None:
    """Raises NetfabError if standard input is no terminal although typed input is to go to one."""
    if not sys.stdin.isatty():
        raise NetfabError(
            "the input device is not a TTY: standard input is not a terminal", hint="leave -t out"
        )


def leave(ctx: click.Context, *things: object) -> None:
    """Exit without freeing objects one by one, which takes 10 ms for a large fabric."""
    ctx.obj["left"] = things


def _say(what: str) -> None:
    from netfab.cli.failures import printable

    click.echo(printable(what), err=True)


def _say_step(op: Any) -> bool:
    from netfab.cli.failures import printable

    click.echo(printable(f"  {getattr(op, 'doing', '') or op}"), err=True)
    return False


def titles_of(name: str, where: Any) -> dict[str, str]:
    """The displayed names of guests of the ad-hoc fabric; none for other fabrics."""
    from netfab.topology.adhoc import NAME

    if name != NAME:
        return {}
    from netfab.imperative.adhoc import titles

    return titles(where)
