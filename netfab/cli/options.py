"""Options that mean the same wherever they are given: `--only`, `--lock-timeout`."""

from __future__ import annotations

import click


def _seconds(_: click.Context, __: click.Parameter, value: str) -> float:
    """A number of seconds, or a time as topology files have it: `60`, `60s`, `500ms`, `2m`."""
    from netfab.topology import grammar

    try:
        return grammar.seconds(f"{value}s" if value.replace(".", "", 1).isdecimal() else value)
    except grammar.Wrong as wrong:
        raise click.BadParameter(str(wrong)) from wrong


def _node_names(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...]:
    names = tuple(name.strip() for name in (value or "").split(",") if name.strip())
    if value is not None and not names:  # an empty variable of a script must not mean everything
        raise click.BadParameter("it names no node")
    return names


only_option = click.option(
    "--only",
    metavar="NODE,…",
    callback=_node_names,
    help="Only what these nodes have or need; everything else stays as it is.",
)
ssh_option = click.option(
    "--ssh",
    metavar="DESTINATION",
    envvar="NETFAB_SSH",
    help="All of it on that host: root@ADDRESS, or a name of ~/.ssh/config. It needs sshd and python3.",
)
skip_option = click.option(
    "--skip-unreachable",
    is_flag=True,
    help="Leave hosts that can't be reached as they are; a later apply completes it.",
)
lock_option = click.option(
    "--lock-timeout",
    callback=_seconds,
    metavar="TIME",
    default="60s",
    show_default=True,
    help="How long to wait for another command.",
)
