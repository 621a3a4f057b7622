"""Commands for nodes and their programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import click

from netfab.cli import complete
from netfab.cli.context import need_terminal, output_json, where_of
from netfab.cli.failures import end_in_part, show_error
from netfab.cli.files import far_nodes, known_fabrics
from netfab.cli.options import env_file_option, env_option, variables
from netfab.errors import ContainerFailed, Interrupted, NetfabError, NotReached, StoreError, raise_all

ENDED = ("exited", "stopped")


@click.command("exec", context_settings={"allow_interspersed_args": False})
@click.option("-d", "--detach", is_flag=True, help="Return as soon as it runs; without a terminal.")
@click.option(
    "-i",
    "--interactive",
    "interactive",
    is_flag=True,
    help="Pass on standard input.",
)
@click.option(
    "-t", "--tty", "terminal", is_flag=True, help="Give the command a terminal, and pass on what is typed."
)
@click.option("-u", "--user", help="USER[:GROUP] to run it as.")
@click.option("-w", "--workdir", metavar="DIR", help="Directory to run it in.")
@env_option
@env_file_option
@click.option(
    "--privileged", is_flag=True, help="With all capabilities, also where the node's program has few."
)
@click.argument(
    "words",
    nargs=-1,
    required=True,
    type=click.UNPROCESSED,
    metavar="NODE CMD…",
    shell_complete=complete.first_node,
)
@click.pass_context
def exec_command(
    ctx: click.Context,
    detach: bool,
    interactive: bool,
    terminal: bool,
    user: str | None,
    workdir: str | None,
    env: tuple[str, ...],
    env_files: tuple[str, ...],
    privileged: bool,
    words: tuple[str, ...],
) -> None:
    """Run a command in NODE (or FABRIC/NODE); several nodes: exec NODE… -- CMD….

    In a lab NODE may be a simulated host. Exits with the command's own code; 126 or 127 when it can't be run
    or isn't there.
    """
    nodes, command = _split(words)
    if not command:
        raise click.UsageError("which command? netfab exec NODE CMD…")
    if not (interactive or terminal):
        _have_no_input()
    more = {"user": user, "workdir": workdir, "env": tuple(variables(env, env_files)), "detached": detach}
    terminal = terminal and not detach
    if terminal and interactive:
        need_terminal()
    codes = [_execute(ctx, node, command, privileged=privileged, terminal=terminal, **more) for node in nodes]
    raise SystemExit(next((code for code in codes if code), 0))


def _have_no_input() -> None:
    """As in docker: in a script's `while read` loop the remaining input is not for the command."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def _split(words: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if "--" in words:
        at = words.index("--")
        return words[:at], words[at + 1 :]
    return words[:1], words[1:]


def _execute(ctx: click.Context, node: str, command: tuple[str, ...], **options: Any) -> int:
    from netfab.nodes import by_name

    where = where_of(ctx)
    try:
        if far := far_nodes([node], where):
            from netfab.remote.nodes import execute

            return execute(far[node], command, where, **options)
        return by_name.execute(node, command, where, **options)
    except by_name.NoSuchNode:
        from netfab.hosts import simulated

        if node not in simulated.names():
            raise
        return _on_simulated_host(node, command, options)
    except ContainerFailed as error:
        show_error(error)
        return error.exit_code


def _on_simulated_host(host: str, command: tuple[str, ...], options: Mapping[str, Any]) -> int:
    """Run it there as root, with our own streams; its exit code, 127 if it does not exist.

    Raises NetfabError for options that apply to nodes only.
    """
    import subprocess

    from netfab.hosts import simulated

    if given := [name for name in ("user", "workdir", "env", "detached") if options.get(name)]:
        raise NetfabError(f"{host} is a simulated host, where `exec` takes no {given[0]}")
    try:
        ended = subprocess.run(command, preexec_fn=partial(simulated.enter, host), check=False)
    except FileNotFoundError:
        show_error(NetfabError(f"{command[0]} is not there"))
        return 127
    return ended.returncode if ended.returncode >= 0 else 128 - ended.returncode


# The caller's own shell if it exists in the node's files, else what every system has.
_SHELL = ("/bin/sh", "-c", 'exec "$(command -v "$0" || echo /bin/sh)"')


@click.command("shell")
@click.argument("node", shell_complete=complete.nodes)
@click.pass_context
def shell_command(ctx: click.Context, node: str) -> None:
    """Open a shell in NODE (or FABRIC/NODE)."""
    terminal = sys.stdin.isatty()
    raise SystemExit(_execute(ctx, node, (*_SHELL, os.environ.get("SHELL", "/bin/sh")), terminal=terminal))


def _filters(ctx: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> list[tuple[str, str]]:
    """Raises BadParameter for unknown filters."""
    parted = (text.partition("=") for text in texts)
    found = [(key, value) for key, _, value in parted]
    for key in dict(found):
        if key not in ("name", "status"):
            raise click.BadParameter(f"nodes have no `{key}` to be found by; they have `name` and `status`")
    return found


def _passes(one: dict[str, Any], filters: list[tuple[str, str]]) -> bool:
    """As in docker: for each key, one of the values given matches."""
    names = [value for key, value in filters if key == "name"]
    states = [value for key, value in filters if key == "status"]
    return (not names or any(_is_called(one, name) for name in names)) and (
        not states or one["state"] in states
    )


def _is_called(one: dict[str, Any], name: str) -> bool:
    return name in one["node"] or name == f"{one['fabric']}/{one['node']}"


@click.command("ps")
@click.option("-a", "--all", "everything", is_flag=True, help="Also those that have ended.")
@click.option("-q", "--quiet", "quiet", is_flag=True, help="Only FABRIC/NODE, a line each.")
@click.option(
    "-f",
    "--filter",
    "filters",
    multiple=True,
    callback=_filters,
    metavar="KEY=VALUE",
    help="Only those with `name`, or a part of it, or with `status`.",
)
@click.option("--no-trunc", "in_full", is_flag=True, help="Images' ids and paths in full.")
@output_json
@click.pass_context
def ps_command(
    ctx: click.Context,
    everything: bool,
    quiet: bool,
    filters: list[tuple[str, str]],
    in_full: bool,
    output: str,
) -> None:
    """List the programs of nodes.

    Exits with 1 when a host of a fabric is not reached.
    """
    from netfab.cli import show
    from netfab.where import refuse_lost

    where = where_of(ctx)
    everything = everything or any(key == "status" for key, _ in filters)
    every, missing = _all_programs(where)
    if not every:
        try:
            refuse_lost(where)
        except StoreError as error:
            missing.append(error)
    found = [one for one in every if everything or one["state"] not in ENDED]
    found = [one for one in found if _passes(one, filters)]
    if quiet:
        for one in found:
            click.echo(show.printable(f"{one['fabric']}/{one['node']}"))
    else:
        named = found if in_full else _with_names(found, where)
        show.show_data({"version": 1, "nodes": found}, output, lambda: _rows(named, in_full))
    end_in_part(missing)


def _rows(found: list[dict[str, Any]], in_full: bool) -> Iterator[Sequence[str]]:
    hosts = any("host" in one for one in found)
    ports = ["PUBLISHED"] if any(one["published"] for one in found) else []
    yield *["HOST"] * hosts, "FABRIC", "NODE", "IMAGE", "STATE", "PID", "EXIT", "RESTARTS", *ports, "COMMAND"
    for one in found:
        exited = (
            "-"
            if one["state"] not in ENDED
            else "unknown"
            if one["exit_code"] is None
            else str(one["exit_code"])
        )
        exited += " (OOM)" if one["oom"] else ""
        yield (
            *[one.get("host", "-")] * hosts,
            one["fabric"],
            one["node"],
            one.get("image", "") if in_full else _short(one.get("image", "")),
            one["state"],
            str(one["pid"] or "-"),
            exited,
            str(one["restarts"]),
            *(", ".join(one["published"]) or "-" for _ in ports),
            " ".join(one["command"]),
        )


def _with_names(programs: list[dict[str, Any]], where: Any) -> list[dict[str, Any]]:
    """With the names of their images here, if they have any."""
    if not any(one.get("image", "").startswith("sha256:") for one in programs):
        return programs
    from netfab.images.naming import called

    names: dict[str, str] = {}
    with suppress(NetfabError):  # `netfab images` will report what is wrong with them
        names = called(where)
    return [{**one, "image": names.get(one.get("image", ""), one.get("image", ""))} for one in programs]


def _short(image: str) -> str:
    """An id as docker shortens it; the last part of a path; a name as it is."""
    if image.startswith("sha256:"):
        return image.removeprefix("sha256:")[:12]
    return image.rpartition("/")[2] if image.startswith("/") else image


def _lines(_: click.Context, __: click.Parameter, text: str | None) -> int | None:
    """A number of lines; None: all."""
    if text in (None, "all"):
        return None
    if not text.isdecimal():
        raise click.BadParameter(f"`{text}` is neither a number of lines nor `all`")
    return int(text)


@click.command("logs")
@click.option("-f", "--follow", is_flag=True, help="Follow the output until the programs end.")
@click.option("-n", "--tail", metavar="N", callback=_lines, help="Only the last N lines.")
@click.argument("nodes", nargs=-1, metavar="[NODE|FABRIC]...", shell_complete=complete.nodes)
@click.pass_context
def logs_command(ctx: click.Context, follow: bool, tail: int | None, nodes: tuple[str, ...]) -> None:
    """Print what nodes wrote: NODE, FABRIC/NODE, or all of a FABRIC; else of all, with their names.

    Exits with 1 when a host of a fabric that is meant is not reached.
    """
    from netfab.nodes.by_name import logs

    where = where_of(ctx)
    nodes, missing = _expanded(nodes, where)
    if not nodes:
        raise_all(missing)
        raise NetfabError("no node of this host has a program")
    for error in missing:  # before following, which has no end in sight
        show_error(error)
    out = sys.stdout.buffer

    def tell(name: str, line: bytes) -> None:
        out.write((f"{name} | ".encode() if len(nodes) > 1 else b"") + line + b"\n")
        out.flush()

    far = far_nodes(nodes, where)
    here = [node for node in nodes if node not in far]
    if far:
        from netfab.remote import nodes as remote

        remote.logs(far.values(), where, tell, tail, follow, here=here if follow else ())
    if not (far and follow):
        for name, line in logs(here, where, tail, follow):
            tell(name, line)
    if missing:
        raise SystemExit(1)


def _expanded(words: tuple[str, ...], where: Any) -> tuple[tuple[str, ...], list[NetfabError]]:
    """Nodes as they are; for a fabric all nodes with programs; for no words those of every fabric.

    Also why those of some hosts are missing.
    """
    fabrics = {one.name for one in known_fabrics(where)}
    if words and fabrics.isdisjoint(words):
        return words, []
    every, missing = _all_programs(where)
    names = {one["node"] for one in every}
    found: list[str] = []
    for word in words or sorted({one["fabric"] for one in every}):
        if word in fabrics and (not words or word not in names):
            found += (f"{word}/{one['node']}" for one in every if one["fabric"] == word)
        else:
            found.append(word)
    return tuple(found), missing


def _all_programs(where: Any) -> tuple[list[dict[str, Any]], list[NetfabError]]:
    """On this host, and the hosts that it controls; and why some are missing."""
    from netfab.nodes.by_name import programs
    from netfab.where import opened_book

    if not (entries := opened_book(where).entries()):
        return programs(where), []
    from netfab.multihost import across

    spread = {entry.name for entry in entries}
    found, missing = [one for one in programs(where) if one["fabric"] not in spread], []
    for entry in entries:
        try:
            found += across.programs(entry, where)
        except Interrupted:
            raise
        except NetfabError as error:
            found += error.found if isinstance(error, NotReached) else []
            missing.append(error)
    return found, missing
