"""Options that mean the same wherever they are given: `--only`, `--env`, `--confirm` and others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import click

from netfab.errors import NetfabError


def _seconds(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """A number of seconds, or a duration as in topology files: `60`, `60s`, `500ms`, `2m`."""
    if value is None:
        return None
    from netfab.topology import grammar

    try:
        return grammar.seconds(f"{value}s" if value.replace(".", "", 1).isdecimal() else value)
    except grammar.Wrong as wrong:
        raise click.BadParameter(str(wrong)) from wrong


def _address(_: click.Context, __: click.Parameter, value: str | None) -> Any:
    if value is None:
        return None
    from netfab.topology import addresses, grammar

    try:
        return addresses.host_address(value)
    except grammar.Wrong as wrong:
        raise click.BadParameter(str(wrong)) from wrong


@contextmanager
def changing(ctx: click.Context, name: str, confirm: float | None, probe: Any, where: Any) -> Iterator[Any]:
    """The context of the command's change; `--confirm` undoes it unless it is confirmed."""
    if confirm is None:
        if probe is not None:
            raise click.UsageError("--probe goes with --confirm")
        yield SimpleNamespace(changed=True)
        return
    from netfab.unattended.confirm import Terms, armed

    with armed(name, Terms(confirm, probe), where) as attempt:
        yield attempt
    if attempt.changed and not ctx.obj["quiet"]:
        answer = f"; so does an answer of {probe}" if probe else ""
        click.echo(
            f"`netfab confirm {name}`, over a new connection and within {confirm:g} s, keeps it{answer}.",
            err=True,
        )


def _node_names(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...]:
    names = tuple(name.strip() for name in (value or "").split(",") if name.strip())
    if value is not None and not names:  # an empty variable of a script must not mean everything
        raise click.BadParameter("it names no node")
    return names


def variables(texts: Iterable[str], files: Iterable[str]) -> Iterator[tuple[str, str]]:
    """NAME=VALUE; NAME alone takes ours, if set. Those of files come first. Raises NetfabError."""
    for file in files:
        for number, line in enumerate(_lines_of(file), 1):
            if line.strip() and not line.startswith("#"):
                yield from _variable(line, f"{file}:{number}")
    for text in texts:
        yield from _variable(text, "--env")


def _lines_of(file: str) -> list[str]:
    try:
        with open(file, encoding="utf-8", errors="surrogateescape") as opened:
            return opened.read().split("\n")  # other line separators may be in a value
    except OSError as error:
        raise NetfabError(f"--env-file: {file}: {error.strerror}") from error


def _variable(text: str, said_by: str) -> Iterator[tuple[str, str]]:
    name, equals, value = text.partition("=")
    if not name or name != name.strip():
        raise NetfabError(f"{said_by}: `{text}` has no name", hint="write NAME=VALUE")
    if equals or name in os.environ:
        yield name, value if equals else os.environ[name]


env_option = click.option(
    "-e",
    "--env",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="Set a variable; without a value, the caller's.",
)
env_file_option = click.option(
    "--env-file", "env_files", multiple=True, metavar="FILE", help="A file of variables, one per line."
)
only_option = click.option(
    "--only",
    metavar="NODE,…",
    callback=_node_names,
    help="Only what these nodes have or need; everything else stays as it is.",
)
take_over_option = click.option(
    "--take-over", is_flag=True, help="This file replaces the one that the fabric was applied from."
)
ssh_option = click.option(
    "--ssh",
    metavar="DESTINATION",
    envvar="NETFAB_SSH",
    help="All of it on that host: root@ADDRESS, or a name of ~/.ssh/config. It needs sshd and python3.",
)
host_option = click.option(
    "--host",
    metavar="HOST",
    help="Only that host's part of the file, on this machine; no other host is asked.",
)
skip_option = click.option(
    "--skip-unreachable",
    is_flag=True,
    help="Leave hosts that can't be reached as they are; a later apply completes it.",
)
forget_option = click.option(
    "--forget",
    multiple=True,
    metavar="HOST",
    help="A host that never comes back: if it is not reached now, it is not asked again.",
)
lock_option = click.option(
    "--lock-timeout",
    callback=_seconds,
    metavar="TIME",
    default="60s",
    show_default=True,
    help="How long to wait for another command.",
)
confirm_option = click.option(
    "--confirm",
    callback=_seconds,
    metavar="TIME",
    help="Roll the change back unless `netfab confirm` comes within that time, over a new connection.",
)
probe_option = click.option(
    "--probe",
    callback=_address,
    metavar="ADDR",
    help="With --confirm: also confirmed when ADDR answers a ping.",
)


def elsewhere(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options for the hosts on which it works."""
    for given in (skip_option, host_option, ssh_option):
        command = given(command)
    return command
