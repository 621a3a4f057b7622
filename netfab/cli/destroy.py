"""`destroy`: nothing of a fabric stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from netfab.cli import complete
from netfab.cli.context import agreed, leave, output_json, where_of
from netfab.cli.files import (
    entry_of,
    fabrics_to_destroy,
    file_option,
    missing_file,
)
from netfab.cli.options import (
    forget_option,
    lock_option,
    skip_option,
)
from netfab.errors import Interrupted, NetfabError, raise_rest


@click.command("destroy")
@click.argument("targets", nargs=-1, metavar="[FILE|NAME]...", shell_complete=complete.files_and_fabrics)
@file_option
@click.option("--all", "everything", is_flag=True, help="All fabrics that you applied.")
@click.option("--everyone", is_flag=True, help="All fabrics of this host, whoever applied them.")
@click.option("-y", "--yes", is_flag=True, help="With --all and --everyone: don't ask.")
@click.option("--force", is_flag=True, help="Also what is attached to its bridges.")
@skip_option
@forget_option
@lock_option
@output_json
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
    forget: tuple[str, ...],
    lock_timeout: float,
    output: str,
) -> None:
    """Remove fabrics, by NAME or FILE; nothing of them stays. What isn't there is fine.

    Left out: the fabric that was applied from a file of this directory or below it.
    """
    from netfab.cli import show

    where = where_of(ctx, lock_timeout)
    if not (everything or everyone):
        names = fabrics_to_destroy(targets, file_option, where)
        told = "Nothing to destroy."
    elif targets or file_option:
        raise click.UsageError("--all and --everyone take no FILE or NAME")
    else:
        names = _all_fabrics(where, everyone, yes)
        told = "There is no fabric on this host." if everyone else "There is no fabric of yours."
    if not names and output == "table" and not ctx.obj["quiet"]:
        click.echo(told)
    destroyed, errors = [], []
    for name, target in names.items():
        try:
            one = _destroy(ctx, name, where, force, skip_unreachable, forget)
        except NetfabError as error:
            errors.append(error)
            if isinstance(error, Interrupted):
                break
            continue
        destroyed.append(one)
        if output == "table":
            _say(ctx, one, target, where)
    if output != "table" and (destroyed or not errors):
        several = len(names) != 1 or everything or everyone
        show.show_data({"version": 1, **({"fabrics": destroyed} if several else destroyed[0])}, output, list)
    raise_rest(errors, (one["fabric"] for one in destroyed))


def _all_fabrics(where: Any, everyone: bool, yes: bool) -> dict[str, str]:
    """The user's fabrics, or everyone's; none if the user does not confirm."""
    from netfab.where import applying_user, lost_records, records_of_any

    found = records_of_any(where) or lost_records(where)
    names = [r.name for r in found if everyone or r.user == applying_user()]
    if names and not yes and not agreed(f"destroy {', '.join(names)}?"):
        raise NetfabError("nothing was destroyed", hint="--yes does not ask")
    return {name: name for name in names}


def _destroy(
    ctx: click.Context, name: str, where: Any, force: bool, skip_unreachable: bool, forget: tuple[str, ...]
) -> dict[str, Any]:
    """What was removed, and processes left in former nodes."""
    from netfab import inhabitants
    from netfab.applying import destruction
    from netfab.cli import show

    if entry := entry_of(name, where):
        from netfab.multihost import across
        from netfab.remote.meeting import forgotten

        gone, unreached = across.destroy(
            entry, where, force=force, skip_unreachable=skip_unreachable, forget=forget
        )
        show.warn(forgotten(host, name) for host in unreached)
        return {"fabric": name, "changes": gone, "left": []}
    if forget:
        raise NetfabError(f"fabric {name} is on no host {forget[0]}", hint="it is on this machine alone")
    before = inhabitants(name)
    if force:
        from netfab.imperative import adhoc

        applied = adhoc.destroy(name, where)
    else:
        applied = destruction.destroy(name, where)
    leave(ctx, applied)
    asked = ctx.obj["output"] != "table" or ctx.obj["verbose"]
    changes: Sequence[Any] = show.describe(applied.changes) if asked else applied.changes
    left = [{"pid": one.pid, "namespace": one.name} for one in before if one.stays]
    return {"fabric": name, "changes": changes, "left": left}


def _say(ctx: click.Context, one: dict[str, Any], target: str, where: Any) -> None:
    from netfab.cli import show

    name, changes = one["fabric"], one["changes"]
    if not ctx.obj["quiet"]:
        show.say_inhabitants(one["left"])
    if ctx.obj["verbose"]:
        show.show_described(changes, True, name)
    elif not ctx.obj["quiet"]:
        click.echo(f"Destroyed {name}." if changes else f"Nothing of {name} is there.")
        if not changes:
            for line in missing_file(target, name, where):
                click.echo(show.printable(line), err=True)
