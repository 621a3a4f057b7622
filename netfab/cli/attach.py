"""Commands for containers that somebody else runs: attach, detach, attachments. Parse, call, show."""

from __future__ import annotations

from typing import Any

import click

from netfab.cli.fabric import lock_option, output_json, where_of


@click.command("attach")
@click.argument("bridge")
@click.argument("guest")
@click.argument("words", nargs=-1, required=True, metavar="IP[/LEN][@GW]... [MAC][@VLAN]")
@click.option("-i", "interface", default="eth1", show_default=True, help="The interface's name in the guest.")
@click.option("-l", "host_link", default="", help="The name of the host's end.")
@click.option("-a", "family", default="", metavar="4|6|inet|inet6", help="Which family the address is of.")
@click.option("--mtu", type=click.IntRange(68, 65535), help="In bytes; left out: as the bridge or NIC.")
@click.option("--direct-phys", "moves", is_flag=True, help="Move the NIC itself; it comes back on detach.")
@click.option("--replace", is_flag=True, help="Change an interface that is attached already.")
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
    moves: bool,
    replace: bool,
    lock_timeout: float,
    output: str,
) -> None:
    """Give a running container an interface on a bridge, which is made when its name begins with br.

    BRIDGE may be a NIC instead, which it then shares (macvlan), or mac:ADDRESS of either.
    GUEST is a container of Docker, podman, runc, crun or LXC by name or id, a node, pid:PID or netns:NAME.
    """
    from netfab import adhoc
    from netfab.cli import show

    wish = adhoc.wish_of(bridge, guest, words, interface, host_link, family, mtu or 0, moves)
    attachment, applied = adhoc.attach(wish, where_of(ctx, lock_timeout), replace)
    if output != "table":
        show.show_data(
            {"version": 1, **_row(attachment), "changes": show.describe(applied.changes)}, output, list
        )
    elif ctx.obj["verbose"]:
        show.show_changes(applied.changes, True, attachment.key)
    elif not ctx.obj["quiet"] and not applied.changes:
        click.echo(
            f"No changes. {attachment.interface} of {attachment.title} is attached to {bridge}.", err=True
        )


@click.command("detach")
@click.argument("bridge")
@click.argument("guest")
@click.option("-i", "interface", default="", help="Only this interface; left out: all on the bridge.")
@lock_option
@click.pass_context
def detach_command(ctx: click.Context, bridge: str, guest: str, interface: str, lock_timeout: float) -> None:
    """Take away what `attach` gave, also when the container is gone. What isn't there is fine."""
    from netfab import adhoc
    from netfab.cli import show

    going, applied = adhoc.detach(bridge, guest, interface, where_of(ctx, lock_timeout))
    if ctx.obj["verbose"]:
        show.show_changes(applied.changes, True, guest)
    elif not going and not ctx.obj["quiet"]:
        click.echo(f"Nothing of {guest} is attached to {bridge}.", err=True)


@click.command("attachments")
@output_json
@click.pass_context
def attachments_command(ctx: click.Context, output: str) -> None:
    """List what is attached to containers that others run."""
    from netfab import adhoc
    from netfab.cli import show

    rows = [_row(one) for one in adhoc.attachments(where_of(ctx))]
    table = [
        (row["bridge"], row["name"], row["guest"], row["interface"], " ".join(row["addresses"]) or "-")
        for row in rows
    ]
    head = ("BRIDGE", "NAME", "GUEST", "INTERFACE", "ADDRESSES")
    show.show_data({"version": 1, "attachments": rows}, output, lambda: [head, *table])


def _row(one: Any) -> dict[str, Any]:
    return {
        "bridge": one.bridge,
        "way": one.way,
        "guest": one.guest,
        "name": one.title,
        "interface": one.interface,
        "addresses": list(one.addresses),
        "gateways": list(one.gateways),
    }
