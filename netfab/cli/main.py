"""The command: its groups of commands, and what each way to fail exits with."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import click

from netfab import __version__
from netfab.cli.failures import exit_code, show_bug, show_error
from netfab.cli.output import THAT_CHANGE, error_of, standard_output
from netfab.errors import NetfabError
from netfab.runtime.paths import RUN_DIRECTORY, STATE_DIRECTORY

# The module of each command; it is imported when one of its commands is called, and for --help of that one.
SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Fabric": {
        "init": ("topology", "Write a small topology.yaml to start from."),
        "apply": ("apply", "Make the kernel match a topology file."),
        "plan": ("apply", "Show what `apply` would change."),
        "destroy": ("destroy", "Remove a fabric: nothing of it stays."),
        "diff": ("apply", "Like `plan --exit-code`."),
        "drift": ("repair", "Show what others changed since the last apply."),
        "reconcile": ("repair", "Repair what others changed since the last apply."),
        "confirm": ("repair", "Keep what was changed with --confirm."),
        "recover": ("repair", "Rebuild a lost store from what the kernel shows."),
        "validate": ("topology", "Check a topology file."),
        "config": ("topology", "Print the file with everything expanded and every default filled in."),
        "schema": ("topology", "Print the JSON Schema of a topology file."),
        "convert": ("convert", "Print a file of compose, containerlab or Kathara as a topology."),
    },
    "Look": {
        "status": ("look", "Show a fabric: its nodes, interfaces and networks."),
        "ls": ("look", "List the fabrics of this host."),
        "inspect": ("look", "Print one object as it should be and as it is."),
        "ip": ("look", "Print the addresses of a node."),
        "graph": ("graph", "Print a topology as a graph, or draw it as SVG or HTML."),
        "check": ("check", "Try who reaches whom, as the file's `checks` say."),
        "why": ("why", "Say whether A reaches B, by which way, or what is wrong."),
        "capture": ("capture", "Print or write the frames that pass a node's interfaces."),
        "bridges": ("look", "List the bridges of this host, their owners and ports."),
        "doctor": ("about", "Try what this kernel and host can do."),
        "version": ("about", "Print the version."),
        "info": ("about", "Print what this host has, and how much netfab has there."),
    },
    "Node": {
        "exec": ("node", "Run a command in a node."),
        "shell": ("node", "Open a shell in a node."),
        "ps": ("node", "List nodes and their programs."),
        "logs": ("node", "Print what nodes wrote."),
        "start": ("lifecycle", "Start nodes' programs that have ended."),
        "stop": ("lifecycle", "End nodes' programs; the nodes stay."),
        "restart": ("lifecycle", "Stop nodes' programs, and start them."),
        "kill": ("lifecycle", "Send a signal to nodes' programs."),
        "pause": ("lifecycle", "Halt all processes of nodes."),
        "unpause": ("lifecycle", "Let them go on."),
    },
    "Container": {
        "run": ("run", "Run a program in a container of its own."),
        "wait": ("container", "Wait until nodes' programs have ended; print how."),
        "rm": ("container", "Remove containers of `run`."),
        "stats": ("container", "Show what nodes' programs use."),
        "cp": ("container", "Copy files between a node and this host."),
    },
    "Image": {
        "images": ("images", "List the images of this host."),
        "pull": ("images", "Bring images of registries here."),
        "push": ("images", "Give an image to a registry."),
        "tag": ("images", "Give an image another name."),
        "rmi": ("images", "Remove images, or names of theirs."),
        "prune": ("container", "Remove containers of `run` that have ended, and images that nothing uses."),
        "search": ("images", "List the images of a registry."),
        "import": ("images", "Make an image from a root file system's tar."),
        "load": ("images", "Bring the images of an archive here."),
    },
    "Host": {
        "attach": ("attach", "Give a running container an interface on a bridge."),
        "detach": ("attach", "Take away what `attach` gave."),
        "attachments": ("attach", "List what is attached to containers that others run."),
        "uplink": ("attach", "Make a NIC a port of a bridge, with its addresses and routes."),
        "watch": ("attach", "Repair what others change, as it happens."),
        "bridge": ("attach", "Make a bridge as Docker makes docker0, or take it away."),
        "lab": ("lab", "Run a topology, and a command, in a sandbox; needs no root."),
        "completion": ("about", "Print a completion script for bash, zsh or fish."),
        "help": ("main", "Print what a command does, as its --help."),
    },
}
ALIASES = {"up": "apply", "down": "destroy"}

_LACKS = (errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC, errno.EDQUOT)


OPTIONS_ARE_THE_COMMANDS = (
    "exec",
    "lab",
    "run",
    "shell",
)  # the rest is another program's command line


def _talkative(command: click.Command) -> click.Command:
    """The command with its own -q and -v, which mean the global ones: both places are common."""

    def keep(ctx: click.Context, option: click.Parameter, value: Any) -> None:
        if value and option.name is not None:
            ctx.obj[option.name] = value

    if not any(option.name == "quiet" for option in command.params):
        command.params += [
            click.Option(
                ["-q", "--quiet"], is_flag=True, callback=keep, expose_value=False, help="Print only errors."
            ),
            click.Option(
                ["-v", "--verbose"], count=True, callback=keep, expose_value=False, help="Print each change."
            ),
        ]
    return command


class Sections(click.Group):
    """A group that lists its commands in sections and imports what is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for commands in SECTIONS.values() for name in commands]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        from importlib import import_module

        name = ALIASES.get(name, name)
        for commands in SECTIONS.values():
            if name in commands:
                module = import_module(f"netfab.cli.{commands[name][0]}")
                found: click.Command = getattr(module, f"{name}_command")
                return found if name in OPTIONS_ARE_THE_COMMANDS else _talkative(found)
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name[:1] != "-" and self.get_command(ctx, name) is None:
            from netfab.cli.dockers import instead_of
            from netfab.topology.suggest import did_you_mean

            hint = instead_of(name) or did_you_mean(name, (*self.list_commands(ctx), *ALIASES))
            ctx.fail(f"there is no command {name}; {hint or '`netfab --help` lists them'}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, commands in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(name, text) for name, (_, text) in commands.items()])


def _directory(_: click.Context, __: click.Parameter, value: str) -> str:
    """Its absolute path: processes in other directories use it too."""
    if not value:
        raise click.BadParameter("it is empty")
    return os.path.abspath(value)


@click.group(
    cls=Sections, context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "NETFAB"}
)
@click.option(
    "--state-dir",
    default=STATE_DIRECTORY,
    show_default=True,
    callback=_directory,
    help="Leases and what was last applied.",
)
@click.option(
    "--run-dir",
    default=RUN_DIRECTORY,
    show_default=True,
    callback=_directory,
    help="Locks, hosts files, logs.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print only errors.")
@click.option("-v", "--verbose", count=True, help="-v: each change; -vv: each message to the kernel.")
@click.version_option(__version__, message="netfab %(version)s")
@click.pass_context
def cli(ctx: click.Context, /, **options: Any) -> None:
    """Networks of containers, from one file."""
    ctx.obj.update(options)
    ctx.obj["stdout"].diverts = (
        ALIASES.get(ctx.invoked_subcommand or "", ctx.invoked_subcommand) in THAT_CHANGE
    )


@click.command("help")
@click.argument("command", required=False)
@click.pass_context
def help_command(ctx: click.Context, command: str | None) -> None:
    """Print what COMMAND does, as its --help; without COMMAND, what there is."""
    parent = ctx.parent or ctx
    if command is None:
        click.echo(cli.get_help(parent))
        return
    name, found, _ = cli.resolve_command(parent, [command])
    if found is not None:
        click.echo(found.get_help(click.Context(found, info_name=name, parent=parent)))


def _show_usage(error: click.ClickException) -> None:
    """What is wrong with the words; for docker's that do not exist here also the replacement."""
    from netfab.cli.dockers import absent

    if told := absent(error):
        show_error(told)
    else:
        error.show()


def _exit_code(error: click.ClickException, words: Sequence[str]) -> int:
    """2 for wrong usage; but 1, as in terraform, if 2 says that there is something to change.

    Of `run` 125, as in docker: 2 may be its program's exit status.
    """
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    # click does not name the command if a flag was given a value.
    command = ctx.info_name if ctx else next((word for word in words[1:] if word[:1] != "-"), "")
    if command == "run":
        return 125
    by_2 = command in ("diff", "drift")
    asked = by_2 or not {"--exit-code", "--detailed-exitcode"}.isdisjoint(words)
    return 1 if asked else error.exit_code


def _shown_as_the_hosts(error: Exception) -> bool:
    """Whether it concerns a file or a lack of resources on the host, and was reported as such.

    Whoever replaced a file, or filled a disk, knows what to do.
    """
    if isinstance(error, FileNotFoundError) and error.filename is None and _nowhere():
        show_error(NetfabError("the current directory is gone"))
        return True
    if not isinstance(error, OSError):
        return False
    if isinstance(error.filename, str):
        show_error(NetfabError(f"{error.filename}: {error.strerror}"))
    elif error.errno in _LACKS:
        show_error(NetfabError(f"this host: {error.strerror}"))
    else:
        return False
    return True


def _nowhere() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def main(said: dict[str, Any] | None = None) -> int:
    """Run the command line. Exit codes: 0 fine, 1 it failed, 2 usage, 130 or 143 interrupted.

    `said`: receives the parsed words, and what is left of the command.
    """
    output = standard_output()
    said = {} if said is None else said
    said["stdout"] = output
    try:
        code = cli.main(standalone_mode=False, obj=said)
        sys.stdout.flush()
    except click.ClickException as error:
        _show_usage(error)
        code = _exit_code(error, sys.argv)
    except SystemExit as ended:  # of a command with an exit status of its own
        code = ended.code
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except NetfabError as error:
        show_error(error, as_json=said.get("output") == "json")
        code = exit_code(error)
    except Exception as error:  # the last resort: a user never sees a traceback unasked
        code = 1 if error is output.lost or _shown_as_the_hosts(error) else show_bug(error)
    if output.lost is None:
        with suppress(OSError):
            sys.stdout.flush()
    if output.lost is not None:
        code = code or 1
        output.muted = True
        if told := error_of(output.lost, output.diverts):
            show_error(told)
    sys.stderr.flush()
    return code if isinstance(code, int) else 0
