"""`convert`: another tool's file as a topology."""

from __future__ import annotations

from typing import cast

import click


@click.command("convert")
@click.option(
    "--from",
    "tool",
    type=click.Choice(["compose", "containerlab", "kathara"]),
    help="The tool that the file is for. Default: detected from its content.",
)
@click.argument("file", type=click.Path())
def convert_command(tool: str | None, file: str) -> None:
    """Print FILE of docker compose, containerlab or Kathara (lab.conf) as a topology.

    On stderr each key that is not in it, with its line.
    """
    from netfab.cli import show
    from netfab.files.converting import Tool, convert

    found = convert(file, cast("Tool | None", tool))
    show.warn(map(str, found.left))
    click.echo(found.text, nl=False)
