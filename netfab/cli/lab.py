"""`netfab lab`: a topology in a sandbox of its own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from netfab.cli.context import where_of
from netfab.cli.failures import exit_code, printable, show_bug, show_error
from netfab.cli.files import file_option, find_file, is_file, name_option, read_topology, set_option
from netfab.errors import NetfabError, Unsupported
from netfab.topology.schema import Topology

if TYPE_CHECKING:
    from netfab.hosts.helper import Beside


@click.command("lab", context_settings={"allow_interspersed_args": False})
@file_option
@name_option
@set_option
@click.option(
    "--enter",
    "joined",
    is_flag=False,
    flag_value="",
    metavar="[NAME]",
    help="Run CMD in your running lab; NAME is that of its fabric.",
)
@click.option(
    "--uplink",
    is_flag=True,
    help="Connect it to the Internet through slirp4netns; this machine is not changed.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def lab_command(
    ctx: click.Context,
    file_option: str | None,
    name: str | None,
    settings: tuple[str, ...],
    joined: str | None,
    uplink: bool,
    arguments: tuple[str, ...],
) -> None:
    """Apply FILE in a sandbox, run CMD (else a shell) beside it, and leave nothing: lab [FILE] [-- CMD…].

    Needs no root; where users may have no sandbox, sudo without a password serves. Exits with CMD's code.
    From a second terminal: lab --enter [NAME] [-- CMD…].
    """
    from netfab.hosts import labs, sandbox

    words = list(arguments)
    shell = [os.environ.get("SHELL", "/bin/sh")]
    if joined is not None:
        raise SystemExit(sandbox.join(labs.find(joined), lambda: _run(words or shell)))
    named = not file_option and words and words[0] != "--" and is_file(words[0])
    file = words.pop(0) if named else None
    if words[:1] == ["--"]:
        words.pop(0)
    path = find_file(file, file_option)
    topology = read_topology(path, name, settings)
    if topology.store:
        raise NetfabError(
            f"a lab is separate from everything, and can't reach {topology.store}",
            at=topology.at.of("store"),
            hint="`store: ${STORE:-sqlite}`, and `STORE=etcd://… netfab apply`, is one file for both",
        )
    if not words and not ctx.obj["quiet"]:
        welcome = f"{topology.name} is up, in a sandbox that ends with this shell: `exit` leaves it"
    else:
        welcome = ""
    beside = _way_out(topology) if uplink else None

    def inside() -> int:
        return _inside(topology, path, words or shell, ctx, welcome, uplink)

    try:
        code = sandbox.run(inside, topology.name, beside)
    except Unsupported:
        from netfab.kernel.userns import begin_again_by_sudo

        begin_again_by_sudo(lambda why: click.echo(f"netfab: {why}", err=True))
        raise
    raise SystemExit(code)


def _way_out(topology: Topology) -> Beside:
    """The sandbox's way out. Raises NetfabError if there is none."""
    from netfab.hosts import wayout

    if topology.hosts:
        hint = "leave it out; what is simulated reaches its own hosts"
        raise NetfabError("--uplink: simulated hosts have no way out yet", hint=hint)
    wayout.program()
    return wayout.way_out


def _inside(
    topology: Topology, path: str, command: list[str], ctx: click.Context, welcome: str, uplink: bool
) -> int:
    """In the sandbox: apply, run, and report how the command ended."""
    try:
        if uplink:
            from netfab.hosts.wayout import use_its_resolver

            use_its_resolver()
        from netfab import fabric
        from netfab.cli import show
        from netfab.cli.files import absolute

        where = where_of(ctx)
        if topology.hosts:
            from netfab.hosts import simulation
            from netfab.multihost import across

            simulation.begin(topology)
            outcome = across.apply(topology, across.hosts_of(topology), absolute(path), where)
            show.warn(outcome.warnings)
        else:
            proposed, _ = fabric.apply(topology, absolute(path), where)
            show.warn(proposed.warnings)
    except NetfabError as error:
        show_error(error)
        return exit_code(error)
    except Exception as error:  # this is a separate process: nobody else reports it
        return show_bug(error)
    if welcome:
        click.echo(welcome, err=True)
    return _run(command)


def _run(command: list[str]) -> int:
    """The command's exit status, as in a shell."""
    import subprocess

    try:
        code = subprocess.run(command, check=False).returncode
    except FileNotFoundError:
        click.echo(printable(f"netfab: error: {command[0]}: no such command"), err=True)
        return 127
    except OSError as error:
        click.echo(printable(f"netfab: error: {command[0]}: {error.strerror}"), err=True)
        return 126
    return code if code >= 0 else 128 - code
