"""Commands about netfab and this host: `doctor`, `version`, `info`, `completion`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import click

from netfab import __version__
from netfab.cli.context import output_json, where_of
from netfab.errors import NetfabError


@click.command("doctor")
@output_json
def doctor_command(output: str) -> None:
    """Try what this kernel and host can do; for what it can't, say what to load, install or pass."""
    from netfab.cli import show
    from netfab.kernel.features import examine

    found = examine()
    rows = [(f.name, "yes" if f.works else "no", f.cure) for f in found]
    show.show_data(
        {"version": 1, "features": [f._asdict() for f in found]},
        output,
        lambda: [("FEATURE", "WORKS", "WHAT TO DO"), *rows],
    )


@click.command("version")
@output_json
def version_command(output: str) -> None:
    """Print the versions that a bug report needs."""
    import platform

    from netfab.cli import show

    found = {"netfab": __version__, "python": platform.python_version(), "linux": platform.release()}
    told = f"netfab {found['netfab']}, Python {found['python']}, Linux {found['linux']}"
    show.show_data({"version": 1, **found}, output, lambda: [(told,)])


@click.command("info")
@output_json
@click.pass_context
def info_command(ctx: click.Context, output: str) -> None:
    """Print what this host has, and how much netfab has there."""
    from netfab.cli import show
    from netfab.queries.info import info

    found = info(where_of(ctx))
    show.show_data({"version": 1, **found}, output, lambda: _info_rows(found))


def _info_rows(found: dict[str, Any]) -> Iterator[Sequence[str]]:
    from netfab.cli import show

    for key, value in {**found, "memory": show.size(found["memory"])}.items():
        said = (
            ", ".join(f"{name} {each}" for name, each in value.items()) if isinstance(value, dict) else value
        )
        yield key, "as root" if value is None else str(said or "none")


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Print a completion script: source <(netfab completion bash)."""
    from click.shell_completion import get_completion_class

    from netfab.cli.main import cli

    found = get_completion_class(shell)
    if found is None:
        raise NetfabError(f"no completion for {shell}")
    click.echo(found(cli, {}, "netfab", "_NETFAB_COMPLETE").source())
