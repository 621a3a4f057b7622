"""`apply`, `plan` and `diff`: a topology file and what there is."""

from __future__ import annotations

import os
from typing import Any

import click
from click.core import ParameterSource

from netfab.cli.context import leave, output_json, where_of
from netfab.cli.files import absolute, find_file, of_a_file, read_topology
from netfab.cli.options import (
    changing,
    confirm_option,
    elsewhere,
    forget_option,
    lock_option,
    only_option,
    probe_option,
    take_over_option,
)

NOTHING: tuple[Any, ...] = ()


@click.command("apply")
@of_a_file
@click.option("-d", "detach", is_flag=True, hidden=True, help="Accepted for compatibility with compose.")
@take_over_option
@only_option
@click.option(
    "--plan", "plan_file", metavar="P", help="Apply a plan of `plan --save P`, if nothing has changed since."
)
@confirm_option
@probe_option
@elsewhere
@forget_option
@lock_option
@output_json
@click.pass_context
def apply_command(
    ctx: click.Context,
    file: str | None,
    file_option: str | None,
    name: str | None,
    settings: tuple[str, ...],
    detach: bool,
    take_over: bool,
    only: tuple[str, ...],
    plan_file: str | None,
    confirm: float | None,
    probe: Any,
    ssh: str | None,
    host: str | None,
    skip_unreachable: bool,
    forget: tuple[str, ...],
    lock_timeout: float,
    output: str,
) -> None:
    """Make the kernel match a topology file, and read it back.

    What the file no longer has goes, too. Returns when every interface carries traffic. On a failure
    everything is as it was before.
    """
    from netfab.applying.seal import unchanged
    from netfab.cli import show

    saved, where = None, where_of(ctx, lock_timeout)
    if plan_file is None:
        path = find_file(file, file_option)
    elif (
        file_option
        or name
        or settings
        or only
        or host
        or ctx.get_parameter_source("file") == ParameterSource.COMMANDLINE
    ):
        raise click.UsageError("a saved plan has FILE, --name, --set, --only, --ssh and --host of its own")
    else:
        from netfab.files.saved_plans import read_plan

        saved = read_plan(plan_file)
        path, name, only, ssh, host = saved.file, saved.name, saved.only, saved.ssh, saved.host
        settings = saved.settings
    plain = saved is None and not (settings or only or ssh or host or forget) and output == "table"
    warnings, changes = unchanged(path, name, where) if plain else None, NOTHING
    if warnings is None:
        from netfab import fabric

        topology = read_topology(path, name, settings)
        if ssh or host or topology.hosts or topology.store:
            from netfab.cli import across

            across.refuse({"probe": probe})
            across.apply(
                ctx,
                topology,
                path,
                where,
                ssh=ssh,
                host=host,
                output=output,
                take_over=take_over,
                skip_unreachable=skip_unreachable,
                forget=forget,
                only=only,
                saved=saved,
                confirm=confirm,
            )
            return
        if forget:
            raise click.UsageError(f"--forget {forget[0]}: {path} is for this machine alone")
        with changing(ctx, topology.name, confirm, probe, where) as attempt:
            proposed, applied = fabric.apply(
                topology, absolute(path), where, take_over, bool(name), only, saved
            )
            attempt.changed = bool(applied.changes)
        leave(ctx, topology, proposed, applied)
        warnings, changes = proposed.warnings, applied.changes
    show.warn(warnings)
    if output != "table":
        show.show_data(fabric.plan_data(topology, proposed, changes), output, list)
    elif ctx.obj["verbose"]:
        show.show_changes(changes, True, path)
    elif not ctx.obj["quiet"]:
        click.echo(show.closing(show.counts_of(changes), True, path))


@click.command("plan")
@of_a_file
@click.option(
    "--why", is_flag=True, help="Also say why each subnet was chosen, what was rejected, and who holds it."
)
@click.option(
    "--exit-code", "--detailed-exitcode", is_flag=True, help="Exit with 2 when there is something to change."
)
@take_over_option
@only_option
@click.option("--save", metavar="P", help="Save the plan to that file, for `apply --plan P`. Needs root.")
@elsewhere
@output_json
@click.pass_context
def plan_command(
    ctx: click.Context,
    file: str | None,
    file_option: str | None,
    name: str | None,
    settings: tuple[str, ...],
    why: bool,
    exit_code: bool,
    take_over: bool,
    only: tuple[str, ...],
    save: str | None,
    ssh: str | None,
    host: str | None,
    skip_unreachable: bool,
    output: str,
) -> None:
    """Show what `apply FILE` would change. Needs no root and changes nothing."""
    from netfab import fabric
    from netfab.cli import show

    path = find_file(file, file_option)
    topology, where = read_topology(path, name, settings), where_of(ctx)
    source = absolute(path)
    if topology.store and not (ssh or host or topology.hosts) and os.geteuid() != 0:
        from netfab.store import book

        source = book.source(source, str(topology.store), "")  # compared with published records
    elif ssh or host or topology.hosts or topology.store:
        from netfab.cli import across

        across.refuse({"take-over": take_over})
        changes = across.plan(
            topology,
            path,
            where,
            ssh=ssh,
            host=host,
            why=why,
            output=output,
            skip_unreachable=skip_unreachable,
            only=only,
            name=name,
            settings=settings,
            save=save,
        )
        if exit_code and changes:
            raise SystemExit(2)
        return
    proposal = fabric.plan(topology, source, where, why, only, take_over)
    if save is not None:
        from netfab.files.saved_plans import save_plan

        save_plan(save, proposal, absolute(path), name, only, settings)
    show.warn(proposal.plan.warnings)
    if output != "table":
        show.show_data(
            fabric.plan_data(topology, proposal.plan, proposal.changes, proposal.reasons), output, list
        )
    else:
        show.show_changes(proposal.changes, False, path if proposal.live else f"{path} as last applied")
        if not proposal.live:
            more = " and with the store" if topology.store else ""
            click.echo(f"compared with what was last applied; as root, with the kernel{more}", err=True)
        for reason in proposal.reasons:
            click.echo(show.printable(reason))
    if exit_code and proposal.changes:
        raise SystemExit(2)


@click.command("diff")
@of_a_file
@elsewhere
@output_json
@click.pass_context
def diff_command(ctx: click.Context, /, **given: Any) -> None:
    """Show what `apply FILE` would change; exit with 2 when there is something."""
    ctx.invoke(plan_command, exit_code=True, **given)
