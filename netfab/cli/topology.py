"""Commands about the file itself: `init`, `validate`, `config` and `schema`."""

from __future__ import annotations

import json
import os

import click

from netfab.cli.context import output_json
from netfab.cli.failures import printable
from netfab.cli.files import (
    file_argument,
    file_option,
    find_file,
    read_topology,
    set_option,
)
from netfab.errors import NetfabError

EXAMPLE = """\
# A network with two nodes. `netfab apply` makes it, `netfab destroy` removes it.
name: {name}
networks:
  lan: {{}}
nodes:
  web: {{networks: [lan]}}
  client: {{networks: [lan]}}
"""


@click.command("init")
@click.argument("file", default="topology.yaml")
def init_command(file: str) -> None:
    """Write a small topology to start from. Never over a file that is there."""
    from netfab.topology.grammar import NO_FABRIC_NAMES, proposed_name

    try:
        name = proposed_name(os.path.basename(os.getcwd()))
        with open(file, "x") as opened:
            opened.write(EXAMPLE.format(name="demo" if name in ("", *NO_FABRIC_NAMES) else name))
    except OSError as error:
        raise NetfabError(f"{file}: {error.strerror}") from error
    sudo = "" if os.geteuid() == 0 else "sudo "
    click.echo(printable(f"wrote {file}; `{sudo}netfab apply {file}` makes it"), err=True)


@click.command("validate")
@file_argument
@file_option
@set_option
@output_json
@click.pass_context
def validate_command(
    ctx: click.Context, file: str | None, file_option: str | None, settings: tuple[str, ...], output: str
) -> None:
    """Check a topology file: all of its errors in one run."""
    from netfab import fabric
    from netfab.cli import show

    path = find_file(file, file_option)
    topology = read_topology(path, settings=settings)
    fabric.validate(topology)
    show.warn(f"{key.at}: {key.key} is right, and not supported yet" for key in topology.reserved)
    counts = {part: len(getattr(topology, part)) for part in ("networks", "nodes", "links")}
    if output != "table":
        show.show_data({"version": 1, "fabric": topology.name, "file": path, **counts}, output, list)
    elif not ctx.obj["quiet"]:
        told = ", ".join(f"{count} {part[:-1] if count == 1 else part}" for part, count in counts.items())
        click.echo(printable(f"{path} is valid: {told}."))


@click.command("config")
@file_argument
@file_option
@set_option
def config_command(file: str | None, file_option: str | None, settings: tuple[str, ...]) -> None:
    """Print the file with everything expanded and every default filled in."""
    from netfab.topology.config import config

    click.echo(config(read_topology(find_file(file, file_option), settings=settings)), nl=False)


@click.command("schema")
def schema_command() -> None:
    """Print the JSON Schema of a topology file, for editors."""
    from netfab.topology.jsonschema import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
