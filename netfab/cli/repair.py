"""Commands that need no file: what others changed, and as it was again; `confirm` and `recover`."""

from __future__ import annotations

from typing import Any

import click

from netfab.cli import complete
from netfab.cli.context import output_json, titles_of, where_of
from netfab.cli.failures import end_in_part
from netfab.cli.files import (
    entry_of,
    fabric_name,
)
from netfab.cli.options import (
    lock_option,
)
from netfab.errors import Interrupted, NetfabError, NotReached, raise_rest


@click.command("drift")
@click.argument("name", required=False, shell_complete=complete.fabrics)
@click.option("--all", "everything", is_flag=True, help="Every fabric of this host.")
@output_json
@click.pass_context
def drift_command(ctx: click.Context, name: str | None, everything: bool, output: str) -> None:
    """Show what others changed since the last apply; exit with 2 when there is something. Needs no file.

    Exits with 1 when a host of it is not reached, and shows that of the others.
    """
    from netfab.cli import show

    where = where_of(ctx)
    names = _named(name, everything, where)
    drifts: list[dict[str, Any]] = []
    missing: list[NetfabError] = []
    for one in names:
        try:
            changes, warnings = _drift_of(one, None if everything else entry_of(one, where), where)
        except NotReached as error:
            changes, warnings = error.found, []
            missing.append(error)
        except NetfabError as error:
            if not everything or isinstance(error, Interrupted):
                raise
            missing.append(error)
            continue
        drifts.append({"fabric": one, "changes": changes, "warnings": warnings})
        show.warn(warnings)
        if output == "table":
            show.show_described(changes, False, one, titles_of(one, where))
    if output != "table":
        show.show_data({"version": 1, **({"fabrics": drifts} if everything else drifts[0])}, output, list)
    end_in_part(missing)
    if any(each["changes"] for each in drifts):
        raise SystemExit(2)


def _named(name: str | None, everything: bool, where: Any) -> list[str]:
    """The fabrics meant, or all of this host. Raises StoreError if these were lost."""
    from netfab import fabric

    if name and everything:
        raise click.UsageError("--all takes no NAME")
    if not everything:
        return [fabric_name(name, where)]
    from netfab.where import refuse_lost

    refuse_lost(where)
    return [one.name for one in fabric.records(where)]


def _drift_of(name: str, entry: Any, where: Any) -> tuple[Any, list[str]]:
    """The differences from what was applied, and warnings. Raises NotReached with what is known."""
    from netfab import fabric

    if entry is None:
        from netfab.imperative import adhoc
        from netfab.queries.status import described

        return described(name, adhoc.drift(name, where), where), list(fabric.warnings(name, where))
    from netfab.multihost import across

    return across.drift(entry, where), []


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
    from netfab import fabric
    from netfab.cli import show
    from netfab.imperative import adhoc
    from netfab.queries.status import described, ended_guests

    where = where_of(ctx, lock_timeout)
    names = _named(name, everything, where)
    repaired: list[dict[str, Any]] = []
    errors, missing = list[NetfabError](), list[NetfabError]()
    for one in names:
        gone: tuple[Any, ...] = ()
        titles = titles_of(one, where)
        try:
            if entry := None if everything else entry_of(one, where):
                from netfab.multihost import across

                try:
                    changes = across.reconcile(entry, where)
                except NotReached as error:
                    changes = error.found
                    missing.append(error)
            else:
                outcome = adhoc.reconcile(one, where)
                changes, gone = described(one, outcome.changes, where), outcome.gone
                show.warn(fabric.warnings(one, where))
                ended = (show.titled(guest, titles) for guest in ended_guests(one, where))
                cure = f"`netfab reconcile {one}` attaches it when it runs again"
                show.warn(f"{guest} no longer runs; {cure}" for guest in ended)
        except NetfabError as error:
            errors.append(error)
            if isinstance(error, Interrupted):
                break
            continue
        forgotten = [{"guest": a.guest, "name": a.title, "interface": a.interface} for a in gone]
        repaired.append({"fabric": one, "changes": changes, "gone": forgotten})
        if output == "table" and not ctx.obj["quiet"]:
            show.show_described(changes, True, one, titles)
            show.say_gone(gone)
    if output != "table" and (everything or repaired):
        data = {"fabrics": repaired} if everything else repaired[0]
        show.show_data({"version": 1, **data}, output, list)
    end_in_part(missing)
    raise_rest(errors, (each["fabric"] for each in repaired if each["changes"]))


@click.command("confirm")
@click.argument("name", required=False)
@click.option("--host", metavar="HOST", help="What `apply --host HOST` changed on this machine.")
@click.pass_context
def confirm_command(ctx: click.Context, name: str | None, host: str | None) -> None:
    """Keep what was changed with `--confirm`. Given over a new connection, it shows that there is a way."""
    where = where_of(ctx)
    if host is not None:
        if name is None:
            raise click.UsageError("--host goes with the fabric's name")
        from netfab.multihost import across

        across.confirmed_alone(name, host, where)
        kept = name
    elif name is not None and (entry := entry_of(name, where)) is not None:
        from netfab.multihost import across

        across.confirmed(entry, where)
        kept = name
    else:
        from netfab.unattended.confirm import confirm

        kept = confirm(name, where)
    if not ctx.obj["quiet"]:
        click.echo(f"Confirmed {kept}.", err=True)


@click.command("recover")
@output_json
@click.pass_context
def recover_command(ctx: click.Context, output: str) -> None:
    """Rebuild a lost or broken store from what is published in the run directory and shown by the kernel."""
    from netfab.applying.recovery import recover
    from netfab.cli import show

    told = recover(where_of(ctx))
    show.show_data({"version": 1, "told": told}, output, lambda: [(line,) for line in told])
