"""Commands for containers that somebody else runs: attach, detach, attachments. Parse, call, show."""

from __future__ import annotations

from typing import Any

import click

from netfab.cli.context import output_json, where_of
from netfab.cli.options import changing, confirm_option, lock_option, probe_option
from netfab.errors import NetfabError


@click.command("attach", context_settings={"ignore_unknown_options": True})
@click.argument("bridge", default="")
@click.argument("guest", default="")
@click.argument("words", nargs=-1, metavar="IP[/LEN][@GW]... [MAC][@VLAN]")
@click.option("-i", "interface", default="eth1", show_default=True, help="The interface's name in the guest.")
@click.option("-l", "host_link", default="", help="The name of the host's end.")
@click.option("-a", "family", default="", metavar="4|6|inet|inet6", help="Which family the address is of.")
@click.option("--mtu", type=click.IntRange(68, 65535), help="In bytes. Default: that of the bridge or NIC.")
@click.option("--rate", default="", help="How fast the guest may send: 10mbit.")
@click.option("--direct-phys", "moves", is_flag=True, help="Move the NIC itself; it comes back on detach.")
@click.option("--replace", is_flag=True, help="Change an interface that is attached already.")
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@click.option("--wait", is_flag=True, help="Wait here until the interface carries traffic; nothing else.")
@click.option(
    "--timeout", type=click.FloatRange(0), default=None, help="With --wait: for at most this many seconds."
)
@lock_option
@output_json
@click.pass_context
def attach_command(
    ctx: click.Context,
    bridge: str,
    guest: str,
    words: tuple[str, ...],
    interface: str,
    host_link: str,
    family: str,
    mtu: int | None,
    rate: str,
    moves: bool,
    replace: bool,
    dry_run: bool,
    wait: bool,
    timeout: float | None,
    lock_timeout: float,
    output: str,
) -> None:
    """Give a running container an interface on a bridge, made when its name begins with br (or ovs).

    BRIDGE may be a NIC instead, which it then shares (macvlan), or mac:ADDRESS of either.
    GUEST is a container of Docker, podman, runc, crun or LXC by name or id, a node, pid:PID or netns:NAME.
    `route`, `rule` or `tc` in place of BRIDGE run that command in the guest, as pipework does.
    """
    from netfab.cli import show
    from netfab.imperative import adhoc
    from netfab.topology.pipework import TOOLS

    if wait:
        adhoc.wait_for(interface, timeout)
        return
    if guest and bridge in TOOLS:
        raise SystemExit(adhoc.run_tool(bridge, guest, words, family, where_of(ctx)))
    if unknown := [word for word in words if word.startswith("-")]:
        raise click.NoSuchOption(unknown[0], ctx=ctx)
    if not words:
        raise click.UsageError("BRIDGE, GUEST and an address are required; `0/0` means no address")
    request = adhoc.request_of(bridge, guest, words, interface, host_link, family, mtu or 0, rate, moves)
    (attachment,), changes, gone, _ = adhoc.attach(request, where_of(ctx, lock_timeout), replace, dry_run)
    if not (dry_run or ctx.obj["quiet"]):
        show.say_gone(gone)
    if output != "table":
        row = _row(attachment, where_of(ctx))
        show.show_data({"version": 1, **row, "changes": show.describe(changes)}, output, list)
    elif dry_run or ctx.obj["verbose"]:
        show.show_changes(changes, not dry_run, attachment.key)
    elif not ctx.obj["quiet"]:
        same = "" if changes else "No changes. "
        addresses = " ".join(_row(attachment, where_of(ctx))["addresses"])
        has = f", {addresses}" if addresses else ""
        told = f"{same}{attachment.interface} of {attachment.title} is attached to {attachment.bridge}{has}."
        click.echo(show.printable(told), err=True)


@click.command("detach")
@click.argument("bridge")
@click.argument("guest", default="")
@click.option("-i", "interface", default="", help="Only this interface. Default: all on the bridge.")
@lock_option
@output_json
@click.pass_context
def detach_command(
    ctx: click.Context, bridge: str, guest: str, interface: str, lock_timeout: float, output: str
) -> None:
    """Take away what `attach` gave, also when the container is gone. What isn't there is fine.

    With the name of a NIC that `uplink` made a port of BRIDGE: give the NIC back all that it had.
    """
    from netfab.cli import show
    from netfab.imperative import adhoc, uplink

    if not guest:
        named = [one.title for one in adhoc.attachments(where_of(ctx)) if bridge in (one.bridge, one.way)]
        there = f"there are {', '.join(dict.fromkeys(named))}" if named else "`netfab attachments` lists all"
        raise NetfabError(f"whose interface on {bridge}? netfab detach {bridge} GUEST", hint=there)
    titles = adhoc.titles(where_of(ctx))
    nic, outcome = uplink.detach(bridge, guest, interface, where_of(ctx, lock_timeout))
    going, changes, gone, _ = outcome
    if output != "table":
        data = {
            "detached": [_row(one, where_of(ctx)) for one in going],
            "nic": nic or None,
            "changes": show.describe(changes),
        }
        show.show_data(
            {"version": 1, **data, "gone": [_row(one, where_of(ctx)) for one in gone]}, output, list
        )
        return
    if ctx.obj["verbose"]:
        show.show_changes(changes, True, guest, titles)
    if not ctx.obj["quiet"]:
        show.say_gone(gone)
        for one in going:
            click.echo(
                show.printable(f"{one.interface} of {one.title} is detached from {one.bridge}."), err=True
            )
        if nic:
            click.echo(show.printable(f"{nic} has its addresses and routes back from {bridge}."), err=True)
        elif not going:
            click.echo(show.printable(f"Nothing of {guest} is attached to {bridge}."), err=True)


@click.command("uplink")
@click.argument("bridge")
@click.argument("nic")
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@confirm_option
@probe_option
@lock_option
@click.pass_context
def uplink_command(
    ctx: click.Context,
    bridge: str,
    nic: str,
    dry_run: bool,
    confirm: float | None,
    probe: Any,
    lock_timeout: float,
) -> None:
    """Make a NIC of this host a port of a bridge, which gets the NIC's addresses and routes.

    `netfab detach BRIDGE NIC` gives them back. The bridge is made when its name begins with br.
    """
    from netfab.cli import show
    from netfab.imperative import uplink

    where = where_of(ctx, lock_timeout)
    with changing(ctx, uplink.NAME, None if dry_run else confirm, probe, where) as attempt:
        outcome = uplink.uplink(bridge, nic, where, dry_run)
        attempt.changed = bool(outcome.changes)
    show.warn(outcome.warnings)
    if dry_run or ctx.obj["verbose"]:
        show.show_changes(outcome.changes, not dry_run, bridge)
    elif not ctx.obj["quiet"]:
        same = "" if outcome.changes else "No changes. "
        click.echo(show.printable(f"{same}{nic} is the uplink of {bridge}."), err=True)


@click.command("attachments")
@output_json
@click.pass_context
def attachments_command(ctx: click.Context, output: str) -> None:
    """List what is attached to containers that others run, and the NICs that bridges have (`uplink`).

    One that has ended is attached again when it runs again; one that is gone `reconcile` forgets.
    """
    from netfab.cli import show
    from netfab.guests.guest import short_label
    from netfab.imperative import adhoc, uplink

    where = where_of(ctx)
    lent = [one._asdict() for one in uplink.uplinks(where)]
    there = adhoc.attachments(where)
    states = adhoc.states(there, where)
    rows = [{**_row(one, where), "state": states[one.guest]} for one in there]
    table = [
        (
            row["bridge"],
            row["name"],
            short_label(row["guest"]),
            row["state"],
            row["interface"],
            " ".join(row["addresses"]) or "-",
        )
        for row in rows
    ]
    table += [(row["bridge"], row["nic"], "uplink", "gone" if row["gone"] else "-", "-", "-") for row in lent]
    head = ("BRIDGE", "NAME", "GUEST", "STATE", "INTERFACE", "ADDRESSES")
    show.show_data({"version": 1, "attachments": rows, "uplinks": lent}, output, lambda: [head, *table])


def _row(one: Any, where: Any) -> dict[str, Any]:
    """With a DHCP client: its name, and what the server gave it."""
    from netfab.facts import guests

    leased = guests.address_in_guest(one.guest, one.interface, where) if one.dhcp else ""
    return {
        "bridge": one.bridge,
        "way": one.way,
        "guest": one.guest,
        "name": one.title,
        "interface": one.interface,
        "addresses": list(one.addresses) or [word for word in (one.dhcp, leased) if word],
        "gateways": list(one.gateways),
    }


@click.group("bridge")
def bridge_command() -> None:
    """Make a bridge with a subnet of its own, or take it away again."""


@bridge_command.command("create")
@click.argument("name")
@lock_option
@click.pass_context
def bridge_create_command(ctx: click.Context, name: str, lock_timeout: float) -> None:
    """Make bridge NAME as Docker makes docker0.

    On a subnet that overlaps nothing here, with its first address, which is a gateway to the outside. A
    bridge that is there is left as it is.
    """
    from netfab import fabric
    from netfab.cli import show
    from netfab.imperative import adhoc

    where = where_of(ctx, lock_timeout)
    outcome = adhoc.create_bridge(name, where)
    if not ctx.obj["quiet"]:
        show.say_gone(outcome.gone)
        addresses = next(", ".join(b["addresses"]) for b in fabric.bridges(where) if b["bridge"] == name)
        same = "" if outcome.changes else "No changes. "
        click.echo(f"{same}{name} is there, with {addresses or 'no address'}.", err=True)


@bridge_command.command("delete")
@click.argument("name")
@lock_option
@click.pass_context
def bridge_delete_command(ctx: click.Context, name: str, lock_timeout: float) -> None:
    """Take away what `bridge create` made."""
    from netfab.cli import show
    from netfab.imperative import adhoc

    outcome = adhoc.delete_bridge(name, where_of(ctx, lock_timeout))
    if not ctx.obj["quiet"]:
        show.say_gone(outcome.gone)
        click.echo(f"{name} is gone.", err=True)


@click.command("watch")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--every", default=10.0, show_default=True, type=click.FloatRange(0.1), help="Seconds between two looks."
)
@click.pass_context
def watch_command(ctx: click.Context, names: tuple[str, ...], every: float) -> None:
    """Repair what others change and attach containers that restart, as it happens, until it is ended.

    Without NAME: every fabric of this host, and what is attached.
    """
    from netfab.cli import show
    from netfab.unattended import watch

    def told(name: str, changes: tuple[Any, ...], error: Exception | None) -> None:
        for change in show.describe(changes):
            line = f"{name}: {change['action']} {change['kind']} {change['name']}"
            click.echo(show.printable(f"{line}: {change['why']}" if change["why"] else line))
        if error is not None:
            click.echo(show.printable(f"{name}: error: {error}"), err=True)

    watch.watch(names, told, every, where_of(ctx))
