"""Commands that change a fabric, or say what they would change."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import click
from click.core import ParameterSource

from netfab.cli import complete
from netfab.cli.files import (
    absolute,
    entry_of,
    fabric_name,
    fabrics_to_destroy,
    file_argument,
    file_option,
    find_file,
    missing_file,
    name_option,
)
from netfab.cli.options import (
    changing,
    confirm_option,
    host_option,
    lock_option,
    only_option,
    probe_option,
    skip_option,
    ssh_option,
    take_over_option,
)
from netfab.errors import NetfabError, raise_all

NOTHING: tuple[Any, ...] = ()
EXAMPLE = """\
# A network with two nodes. `netfab apply` makes it, `netfab destroy` removes it.
name: {name}
networks:
  lan: {{}}
nodes:
  web: {{networks: [lan]}}
  client: {{networks: [lan]}}
"""


def note_output(ctx: click.Context, _: click.Parameter, value: str | None) -> str | None:
    """Errors are shown in the same form."""
    ctx.obj["output"] = value
    return value


output_json = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    callback=note_output,
    help="Print data in this form; errors, too, where it is json.",
)


def where_of(ctx: click.Context, lock_timeout: float = 60.0) -> Any:
    """The Where of fabric.py that the global options ask for."""
    from netfab.cli.show import progress_bar
    from netfab.where import Where

    options = ctx.obj

    def waiting(holder: str) -> None:
        if not options["quiet"]:
            click.echo(f"waiting for {holder}", err=True)

    where = Where(options["state_dir"], options["run_dir"], lock_timeout, waiting)
    if not options["quiet"]:
        where = where._replace(progress=progress_bar())
    if options["verbose"] > 1:
        where = where._replace(hook=_say_step)
    return where


def titles_of(name: str, where: Any) -> dict[str, str]:
    """What people call the guests of the ad-hoc fabric; nothing of any other."""
    from netfab.topology.adhoc import NAME

    if name != NAME:
        return {}
    from netfab.adhoc import titles

    return titles(where)


def _say_step(op: Any) -> bool:
    click.echo(f"  {getattr(op, 'doing', '') or op}", err=True)
    return False


@click.command("init")
@click.argument("file", default="topology.yaml")
def init_command(file: str) -> None:
    """Write a small topology to start from. Never over a file that is there."""
    from netfab.topology.grammar import NO_FABRIC_NAMES, proposed_name

    name = proposed_name(os.path.basename(os.getcwd()))
    try:
        with open(file, "x") as opened:
            opened.write(EXAMPLE.format(name="demo" if name in ("", *NO_FABRIC_NAMES) else name))
    except OSError as error:
        raise NetfabError(f"{file}: {error.strerror}") from error
    click.echo(f"wrote {file}; `sudo netfab apply {file}` makes it", err=True)


@click.command("apply")
@file_argument
@file_option
@name_option
@click.option("-d", "detach", is_flag=True, hidden=True, help="Accepted for fingers that know compose.")
@take_over_option
@only_option
@click.option(
    "--plan", "plan_file", metavar="P", help="What `plan --save P` saved, if nothing has changed since."
)
@confirm_option
@probe_option
@ssh_option
@host_option
@skip_option
@lock_option
@output_json
@click.pass_context
def apply_command(
    ctx: click.Context,
    file: str | None,
    file_option: str | None,
    name: str | None,
    detach: bool,
    take_over: bool,
    only: tuple[str, ...],
    plan_file: str | None,
    confirm: float | None,
    probe: Any,
    ssh: str | None,
    host: str | None,
    skip_unreachable: bool,
    lock_timeout: float,
    output: str,
) -> None:
    """Make the kernel match a topology file, and read it back.

    What the file no longer has goes, too. Returns when every interface carries traffic. On a failure
    everything is as it was before.
    """
    from netfab.cli import show
    from netfab.seal import unchanged

    saved, where = None, where_of(ctx, lock_timeout)
    if plan_file is None:
        path = find_file(file, file_option)
    elif file_option or name or only or ctx.get_parameter_source("file") == ParameterSource.COMMANDLINE:
        raise click.UsageError("a saved plan has FILE, --name and --only of its own")
    else:
        from netfab.saved import read_plan

        saved = read_plan(plan_file)
        path, name, only = saved.file, saved.name, saved.only
    plain = saved is None and not (only or ssh or host) and output == "table"
    warnings, changes = unchanged(path, name, where) if plain else None, NOTHING
    if warnings is None:
        from netfab import fabric

        topology = fabric.load(path, name)
        if ssh or host or topology.hosts:
            from netfab.cli import across

            across.refuse({"only": only, "plan": saved, "confirm": confirm})
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
            )
            return
        with changing(ctx, topology.name, confirm, probe, where) as attempt:
            proposed, applied = fabric.apply(
                topology, absolute(path), where, take_over, bool(name), only, saved
            )
            attempt.changed = bool(applied.changes)
        warnings, changes = proposed.warnings, applied.changes
    show.warn(warnings)
    if output != "table":
        show.show_data(fabric.plan_data(topology, proposed, changes), output, list)
    elif ctx.obj["verbose"]:
        show.show_changes(changes, True, path)
    elif not ctx.obj["quiet"]:
        click.echo(show.closing(show.describe(changes), True, path))


@click.command("plan")
@file_argument
@file_option
@name_option
@click.option(
    "--why", is_flag=True, help="Also say why each subnet was chosen, what was rejected, and who holds it."
)
@click.option(
    "--exit-code", "--detailed-exitcode", is_flag=True, help="Exit with 2 when there is something to change."
)
@take_over_option
@only_option
@click.option("--save", metavar="P", help="Keep the plan in that file, for `apply --plan P`. Needs root.")
@ssh_option
@host_option
@skip_option
@output_json
@click.pass_context
def plan_command(
    ctx: click.Context,
    file: str | None,
    file_option: str | None,
    name: str | None,
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
    path = find_file(file, file_option)
    _plan(ctx, path, name, output, why, exit_code, only, save, ssh, host, skip_unreachable, take_over)


@click.command("diff")
@file_argument
@file_option
@name_option
@ssh_option
@host_option
@skip_option
@output_json
@click.pass_context
def diff_command(
    ctx: click.Context,
    file: str | None,
    file_option: str | None,
    name: str | None,
    ssh: str | None,
    host: str | None,
    skip_unreachable: bool,
    output: str,
) -> None:
    """Show what `apply FILE` would change; exit with 2 when there is something."""
    path = find_file(file, file_option)
    _plan(ctx, path, name, output, exit_code=True, ssh=ssh, host=host, skip_unreachable=skip_unreachable)


def _plan(
    ctx: click.Context,
    path: str,
    name: str | None,
    output: str,
    why: bool = False,
    exit_code: bool = False,
    only: tuple[str, ...] = (),
    save: str | None = None,
    ssh: str | None = None,
    host: str | None = None,
    skip_unreachable: bool = False,
    take_over: bool = False,
) -> None:
    from netfab import fabric
    from netfab.cli import show

    topology, where = fabric.load(path, name), where_of(ctx)
    if ssh or host or topology.hosts:
        from netfab.cli import across

        across.refuse({"only": only, "save": save, "take-over": take_over})
        changes = across.plan(
            topology,
            path,
            where,
            ssh=ssh,
            host=host,
            why=why,
            output=output,
            skip_unreachable=skip_unreachable,
        )
        if exit_code and changes:
            raise SystemExit(2)
        return
    proposal = fabric.plan(topology, absolute(path), where, why, only, take_over)
    if save is not None:
        from netfab.saved import save_plan

        save_plan(save, proposal, absolute(path), name, only)
    show.warn(proposal.plan.warnings)
    if output != "table":
        show.show_data(
            fabric.plan_data(topology, proposal.plan, proposal.changes, proposal.reasons), output, list
        )
    else:
        source = path if proposal.live else f"{path} as last applied"
        show.show_changes(proposal.changes, False, source)
        if not proposal.live:
            click.echo("compared with what was last applied; as root, with the kernel", err=True)
        for reason in proposal.reasons:
            click.echo(show.printable(reason))
    if exit_code and proposal.changes:
        raise SystemExit(2)


@click.command("destroy")
@click.argument("targets", nargs=-1, metavar="[FILE|NAME]...", shell_complete=complete.files_and_fabrics)
@file_option
@click.option("--all", "everything", is_flag=True, help="All fabrics that you applied.")
@click.option("--everyone", is_flag=True, help="All fabrics of this host, whoever applied them.")
@click.option("-y", "--yes", is_flag=True, help="With --all and --everyone: don't ask.")
@click.option("--force", is_flag=True, help="Also what is attached to its bridges.")
@skip_option
@lock_option
@click.pass_context
def destroy_command(
    ctx: click.Context,
    targets: tuple[str, ...],
    file_option: str | None,
    everything: bool,
    everyone: bool,
    yes: bool,
    force: bool,
    skip_unreachable: bool,
    lock_timeout: float,
) -> None:
    """Remove fabrics, by NAME or FILE; nothing of them stays. What isn't there is fine.

    Left out: the fabric that was applied from a file of this directory or below it.
    """
    where = where_of(ctx, lock_timeout)
    if not (everything or everyone):
        names = fabrics_to_destroy(targets, file_option, where)
        told = "Nothing to destroy."
    elif targets or file_option:
        raise click.UsageError("--all and --everyone take no FILE or NAME")
    else:
        names = _all_fabrics(where, everyone, yes)
        told = "There is no fabric on this host." if everyone else "There is no fabric of yours."
    if not names and not ctx.obj["quiet"]:
        click.echo(told)
    errors = []
    for name, target in names.items():
        try:
            _destroy(ctx, name, target, where, force, skip_unreachable)
        except NetfabError as error:
            errors.append(error)
    raise_all(errors)


def _all_fabrics(where: Any, everyone: bool, yes: bool) -> dict[str, str]:
    """The user's fabrics, or everyone's, unless the answer to the question is no."""
    from netfab import fabric

    names = [r.name for r in fabric.records(where) if everyone or r.user == fabric.applying_user()]
    if names and not yes:
        click.echo(f"destroy {', '.join(names)}? [y/N]: ", nl=False, err=True)
        answer = sys.stdin.readline()
        if not answer:
            click.echo(err=True)  # whoever closed it has typed no end of the line
        if answer.strip().lower() not in ("y", "yes"):
            raise NetfabError("nothing was destroyed", hint="--yes does not ask")
    return {name: name for name in names}


def _destroy(
    ctx: click.Context, name: str, target: str, where: Any, force: bool, skip_unreachable: bool
) -> None:
    from netfab import adhoc, fabric
    from netfab.cli import show

    if entry := entry_of(name, where):
        from netfab import across

        told = across.destroy(entry, where, force=force, skip_unreachable=skip_unreachable)
    else:
        before = fabric.inhabitants(name)
        told = show.describe((adhoc.destroy(name, where) if force else fabric.destroy(name, where)).changes)
        if not ctx.obj["quiet"]:
            show.say_inhabitants([one for one in before if one.stays])
    if ctx.obj["verbose"]:
        show.show_described(told, True, name)
    elif not ctx.obj["quiet"]:
        click.echo(f"Destroyed {name}." if told else f"Nothing of {name} is there.")
        if not told:
            for line in missing_file(target, name, where):
                click.echo(show.printable(line), err=True)


@click.command("drift")
@click.argument("name", required=False, shell_complete=complete.fabrics)
@output_json
@click.pass_context
def drift_command(ctx: click.Context, name: str | None, output: str) -> None:
    """Show what others changed since the last apply; exit with 2 when there is something. Needs no file."""
    from netfab import fabric
    from netfab.cli import show

    where = where_of(ctx)
    found = fabric_name(name, where)
    if entry := entry_of(found, where):
        from netfab import across

        changes = across.drift(entry, where)
    else:
        changes = show.describe(fabric.drift(found, where))
    if output != "table":
        show.show_data({"version": 1, "fabric": found, "changes": changes}, output, list)
    else:
        show.show_described(changes, False, found, titles_of(found, where))
    if changes:
        raise SystemExit(2)


@click.command("reconcile")
@click.argument("name", required=False, shell_complete=complete.fabrics)
@click.option("--all", "everything", is_flag=True, help="Every fabric of this host, as at boot.")
@lock_option
@output_json
@click.pass_context
def reconcile_command(
    ctx: click.Context, name: str | None, everything: bool, lock_timeout: float, output: str
) -> None:
    """Repair what others changed since the last apply; after a reboot, everything."""
    from netfab import adhoc, fabric
    from netfab.cli import show

    where = where_of(ctx, lock_timeout)
    names = [record.name for record in fabric.records(where)] if everything else [fabric_name(name, where)]
    repaired, errors = [], []
    for one in names:
        gone: tuple[Any, ...] = ()
        titles = titles_of(one, where)
        try:
            if entry := None if everything else entry_of(one, where):
                from netfab import across

                changes = across.reconcile(entry, where)
            else:
                outcome = adhoc.reconcile(one, where)
                changes, gone = show.describe(outcome.changes), outcome.gone
        except NetfabError as error:
            errors.append(error)
            continue
        forgotten = [{"guest": a.guest, "name": a.title, "interface": a.interface} for a in gone]
        repaired.append({"fabric": one, "changes": changes, "gone": forgotten})
        if output == "table" and not ctx.obj["quiet"]:
            show.show_described(changes, True, one, titles)
            show.say_gone(gone)
    if output != "table" and (everything or repaired):
        data = {"fabrics": repaired} if everything else repaired[0]
        show.show_data({"version": 1, **data}, output, list)
    raise_all(errors)


@click.command("confirm")
@click.argument("name", required=False)
@click.pass_context
def confirm_command(ctx: click.Context, name: str | None) -> None:
    """Keep what was changed with `--confirm`. Given over a new connection, it shows that there is a way."""
    from netfab.confirm import confirm

    kept = confirm(name, where_of(ctx))
    if not ctx.obj["quiet"]:
        click.echo(f"Confirmed {kept}.", err=True)


@click.command("recover")
@click.pass_context
def recover_command(ctx: click.Context) -> None:
    """Rebuild a lost or broken store from what is published in the run directory and shown by the kernel."""
    from netfab import fabric

    for line in fabric.recover(where_of(ctx)):
        click.echo(line)


@click.command("validate")
@file_argument
@file_option
@output_json
@click.pass_context
def validate_command(ctx: click.Context, file: str | None, file_option: str | None, output: str) -> None:
    """Check a topology file: all of its errors in one run."""
    from netfab import fabric
    from netfab.cli import show

    path = find_file(file, file_option)
    topology = fabric.load(path)
    fabric.validate(topology)
    show.warn(f"{key.at}: {key.key} is right, and not supported yet" for key in topology.reserved)
    counts = {part: len(getattr(topology, part)) for part in ("networks", "nodes", "links")}
    if output != "table":
        show.show_data({"version": 1, "fabric": topology.name, "file": path, **counts}, output, list)
    elif not ctx.obj["quiet"]:
        told = ", ".join(f"{count} {part[:-1] if count == 1 else part}" for part, count in counts.items())
        click.echo(f"{path} is valid: {told}.")


@click.command("config")
@file_argument
@file_option
def config_command(file: str | None, file_option: str | None) -> None:
    """Print the file with everything expanded and every default filled in."""
    from netfab.fabric import load
    from netfab.topology.config import config

    click.echo(config(load(find_file(file, file_option))), nl=False)


@click.command("schema")
def schema_command() -> None:
    """Print the JSON Schema of a topology file, for editors."""
    from netfab.topology.jsonschema import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
