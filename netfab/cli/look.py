"""Commands that only look."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import click

from netfab.cli import complete
from netfab.cli.context import note_output, output_json, titles_of, where_of
from netfab.cli.failures import end_in_part
from netfab.cli.files import (
    entry_of,
    fabric_name,
    fabric_of_node,
    far_nodes,
    known_fabrics,
)
from netfab.errors import Interrupted, NetfabError, NoSuchFabric, NotReached, StoreError


@click.command("status")
@click.argument("name", required=False, shell_complete=complete.fabrics)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "yaml", "topology"]),
    default="table",
    callback=note_output,
    help="Print data in this form; `topology`: the file that was applied, whole.",
)
@click.pass_context
def status_command(ctx: click.Context, name: str | None, output: str) -> None:
    """Show a fabric: its nodes, interfaces and networks.

    Exits with 1 when a host of it is not reached, of which only what was planned is known.
    """
    from netfab.cli import show

    where = where_of(ctx)
    name = fabric_name(name, where)
    if output == "topology":
        click.echo(_topology_of(name, where), nl=False)
        return
    found = _status_of(name, where)
    if output == "table":
        from netfab.topology import default

        command = "run" if found["fabric"] == default.NAME else "attach"
        of = f"from {found['file']}" if found["file"] else f"of `netfab {command}`"
        click.echo(show.printable(f"fabric {found['fabric']}, {of}"))
    titles = titles_of(found["fabric"], where)
    show.show_data(found, output, lambda: _status_rows(found, titles))
    show.warn(found.get("warnings", ()))
    if "differs" not in found and not ctx.obj["quiet"]:
        click.echo("as last applied; as root, as the kernel has it", err=True)
    _say_begun(found)
    if found.get("whole", True) and found.get("differs"):
        click.echo(
            f"{found['differs']} {'object is' if found['differs'] == 1 else 'objects are'} not as applied;"
            f" `netfab drift {found['fabric']}` says what is different",
            err=True,
        )
    if away := found.get("unreachable"):
        end_in_part([NotReached(found["fabric"], away)])


def _say_begun(found: dict[str, Any]) -> None:
    """Report a fabric whose first apply is not complete."""
    if not found.get("whole", True):
        click.echo(
            f"{found['fabric']} is not fully applied: its first apply still runs, or was killed;"
            f" `netfab drift {found['fabric']}` says what to do",
            err=True,
        )


def _topology_of(name: str, where: Any) -> str:
    if entry := entry_of(name, where):
        from netfab.multihost import across

        return across.topology_of(entry)
    from netfab import fabric

    return fabric.topology_of(name, where)


def _status_of(name: str, where: Any) -> dict[str, Any]:
    """The status of a fabric, on whatever hosts."""
    if entry := entry_of(name, where):
        from netfab.multihost import across

        return across.status(entry, where)
    from netfab import fabric

    return fabric.status(name, where)


def _status_of_each(names: Iterable[str], where: Any) -> tuple[list[dict[str, Any]], list[NetfabError]]:
    """Of those that still exist: others may be destroying one; and the hosts for which it is unknown."""
    found, missing = [], []
    for name in names:
        try:
            found.append(one := _status_of(name, where))
        except NoSuchFabric:
            continue
        except Interrupted:
            raise
        except NetfabError as error:
            missing.append(error)
            continue
        if away := one.get("unreachable"):
            missing.append(NotReached(name, away))
    return found, missing


def _status_rows(found: dict[str, Any], titles: Mapping[str, str]) -> Iterator[Sequence[str]]:
    """With a column of hosts if there are several, and one of published ports if there are any."""
    published = {name: ", ".join(node.get("published", ())) for name, node in found["nodes"].items()}
    head = ("NODE", "STATE", "INTERFACE", "NETWORK", "ADDRESSES", "MAC", "DROPPED")
    ends = ("PUBLISHED",) if any(published.values()) else ()
    yield ("HOST", *head, *ends) if "hosts" in found else (*head, *ends)
    for name, node in found["nodes"].items():
        rows = node["interfaces"] or [{"name": "-", "network": "-", "addresses": [], "mac": "-"}]
        for interface in rows:
            addresses = ", ".join(interface["addresses"]) or "-"
            where = interface["name"], interface["network"], addresses, interface["mac"]
            row = [titles.get(name, name), node["state"], *where, str(interface.get("dropped", "-"))]
            row += [published[name] or "-"] * len(ends)
            yield [node["host"], *row] if "hosts" in found else row


@click.command("ls")
@output_json
@click.pass_context
def ls_command(ctx: click.Context, output: str) -> None:
    """List the fabrics of this host.

    Exits with 1 when a host of one is not reached.
    """
    from netfab.cli import show
    from netfab.where import refuse_lost

    where = where_of(ctx)
    found, missing = _status_of_each([one.name for one in known_fabrics(where)], where)
    try:
        refuse_lost(where)
    except StoreError as error:
        missing.append(error)
    for each in found:
        _say_begun(each)
    rows = [(f["fabric"], str(len(f["nodes"])), str(len(f["networks"])), f["file"]) for f in found]
    show.show_data(
        {"version": 1, "fabrics": found}, output, lambda: [("FABRIC", "NODES", "NETWORKS", "FILE"), *rows]
    )
    end_in_part(missing)


@click.command("ip")
@click.argument("node", shell_complete=complete.nodes)
@click.argument("network", required=False)
@output_json
@click.pass_context
def ip_command(ctx: click.Context, node: str, network: str | None, output: str) -> None:
    """Print the addresses of NODE (or FABRIC/NODE), one a line; with NETWORK, only those there."""
    from netfab.cli import show
    from netfab.topology.suggest import did_you_mean

    where = where_of(ctx)
    name, _, short = node.rpartition("/")
    nodes = _status_of(name or fabric_of_node(short, where), where)["nodes"]
    if short not in nodes:
        raise NetfabError(
            f"there is no node {short}", hint=did_you_mean(short, nodes) or f"there are {', '.join(nodes)}"
        )
    interfaces = [i for i in nodes[short]["interfaces"] if network in (None, i["network"])]
    if not interfaces:
        raise NetfabError(f"{short} is not on network {network}" if network else f"{short} has no interface")
    addresses = [address for interface in interfaces for address in interface["addresses"]]
    show.show_data({"version": 1, "addresses": addresses}, output, lambda: [(each,) for each in addresses])


@click.command("inspect")
@click.argument("words", nargs=-1, required=True, metavar="OBJECT…", shell_complete=complete.objects)
@click.option("-o", "--output", type=click.Choice(["json", "yaml"]), callback=note_output)
@click.pass_context
def inspect_command(ctx: click.Context, words: tuple[str, ...], output: str | None) -> None:
    """Print an object as it should be and as it is: a node, network, link, bridge, or fabric; or an image.

    Several OBJECTs are printed as a list.
    """
    from netfab.cli import show

    where, found, missing = where_of(ctx), [], list[NetfabError]()
    for word in words:
        try:
            found.append(_inspected(word, where))
        except NetfabError as error:
            if len(words) == 1 or isinstance(error, Interrupted):
                raise
            missing.append(error)
    show.show_data(found if len(words) > 1 else found[0], output or "json", list)
    end_in_part(missing)


def _inspected(what: str, where: Any) -> Any:
    if far := far_nodes([what], where):
        from netfab.remote.nodes import inspect as inspect_there

        return inspect_there(far[what], where)
    if entry_of(what, where):
        return _status_of(what, where)
    from netfab.queries.inspection import inspect

    return inspect(what, where)


@click.command("bridges")
@output_json
@click.pass_context
def bridges_command(ctx: click.Context, output: str) -> None:
    """List the bridges of this host, whoever made them, with their addresses and ports."""
    from netfab import fabric
    from netfab.cli import show

    found = fabric.bridges(where_of(ctx))
    rows = [
        (b["bridge"], b["owner"], ", ".join(b["addresses"]) or "-", ", ".join(b["ports"]) or "-")
        for b in found
    ]
    show.show_data(
        {"version": 1, "bridges": found}, output, lambda: [("BRIDGE", "OWNER", "ADDRESSES", "PORTS"), *rows]
    )
