"""What commands do and show for fabrics on other hosts, or on several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from netfab.cli import show
from netfab.cli.files import absolute
from netfab.errors import NetfabError

if TYPE_CHECKING:
    from netfab.files.saved_plans import SavedPlan
    from netfab.multihost.across import Outcome
    from netfab.topology.schema import Topology
    from netfab.where import Where


def refuse(words: Mapping[str, Any]) -> None:
    """Raises NetfabError for options that apply to a single host only."""
    for option, value in words.items():
        if value:
            raise NetfabError(
                f"--{option} is not supported yet for a fabric on other hosts, or of a shared store"
            )


def apply(
    ctx: click.Context,
    topology: Topology,
    path: str,
    where: Where,
    *,
    ssh: str | None,
    host: str | None,
    output: str,
    take_over: bool,
    skip_unreachable: bool,
    forget: tuple[str, ...],
    only: tuple[str, ...],
    saved: SavedPlan | None,
    confirm: float | None,
) -> None:
    """`netfab apply`."""
    from netfab.multihost import across

    if forget and only:
        raise click.UsageError("--forget is about the whole file, and --only about some of its nodes")
    if host:
        _refuse_together(ssh, skip_unreachable, only, forget)
        outcome = across.apply_alone(
            topology,
            host,
            absolute(path),
            where,
            take_over=take_over,
            saved=saved,
            confirm=confirm or 0.0,
        )
    else:
        outcome = across.apply(
            topology,
            across.hosts_of(topology, ssh or ""),
            absolute(path),
            where,
            take_over=take_over,
            skip_unreachable=skip_unreachable,
            forget=forget,
            only=only,
            saved=saved,
            confirm=confirm or 0.0,
        )
    show.warn(outcome.warnings)
    if output != "table":
        show.show_data(_data(topology, outcome), output, list)
    elif ctx.obj["verbose"]:
        show.show_described(outcome.changes, True, path)
    elif not ctx.obj["quiet"]:
        click.echo(show.closing(Counter(change["action"] for change in outcome.changes), True, path))
    if confirm and outcome.changes and not ctx.obj["quiet"]:
        named = f"--host {host} {topology.name}" if host else topology.name
        click.echo(f"`netfab confirm {named}`, within {confirm:g} s, keeps it.", err=True)


def _refuse_together(
    ssh: str | None, skip_unreachable: bool, only: tuple[str, ...], forget: tuple[str, ...] = ()
) -> None:
    given = {"ssh": ssh, "skip-unreachable": skip_unreachable, "only": only, "forget": forget}
    for option, value in given.items():
        if value:
            raise click.UsageError(f"--host makes the whole part of that host, and has no --{option}")


def plan(
    topology: Topology,
    path: str,
    where: Where,
    *,
    ssh: str | None,
    host: str | None,
    why: bool,
    output: str,
    skip_unreachable: bool,
    only: tuple[str, ...],
    name: str | None,
    settings: tuple[str, ...],
    save: str | None,
) -> bool:
    """`netfab plan`; whether there is anything to change."""
    from netfab.multihost import across

    if host:
        _refuse_together(ssh, skip_unreachable, only)
        outcome = across.plan_alone(topology, host, where, why=why, saving=save is not None)
    else:
        hosts = across.hosts_of(topology, ssh or "")
        outcome = across.plan(
            topology,
            hosts,
            where,
            why=why,
            skip_unreachable=skip_unreachable,
            only=only,
            saving=save is not None,
        )
    if save is not None:
        from netfab.files.saved_plans import SavedPlan, write_plan

        asked = absolute(path), name, only, outcome.parts, ssh or "", settings, host or ""
        write_plan(save, SavedPlan(*asked))
    show.warn(outcome.warnings)
    if output != "table":
        show.show_data(_data(topology, outcome), output, list)
    else:
        show.show_described(outcome.changes, False, path)
        for reason in outcome.reasons:
            click.echo(show.printable(reason))
    return bool(outcome.changes)


def _data(topology: Topology, outcome: Outcome) -> dict[str, Any]:
    return {
        "version": 1,
        "fabric": topology.name,
        **outcome.summary,
        "changes": list(outcome.changes),
        "reasons": list(outcome.reasons),
        "warnings": list(outcome.warnings),
    }
