"""`graph`: a topology as a graph, or drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from netfab.cli.context import where_of
from netfab.cli.files import absolute, file_argument, file_option, find_file, read_topology, set_option
from netfab.errors import NetfabError

if TYPE_CHECKING:
    from netfab.topology.schema import Topology

FORMATS = ("mermaid", "dot", "svg", "html")


@click.command("graph")
@file_argument
@file_option
@set_option
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="mermaid",
    show_default=True,
    help="`-f svg` is the same.",
)
@click.pass_context
def graph_command(
    ctx: click.Context, file: str | None, file_option: str | None, settings: tuple[str, ...], form: str
) -> None:
    """Print a topology as a graph for mermaid or graphviz, or draw it as one SVG or HTML file.

    What is drawn has the addresses of the plan, as far as there can be one.
    """
    if file_option in FORMATS:
        form, file_option = file_option, None
    path = find_file(file, file_option)
    topology = read_topology(path, settings=settings)
    if form in ("mermaid", "dot"):
        from netfab.diagnose import graph

        click.echo(graph.mermaid(topology) if form == "mermaid" else graph.dot(topology), nl=False)
        return
    from netfab.diagnose.picture import picture_of

    picture = picture_of(topology, _planned(topology, absolute(path), where_of(ctx)))
    if form == "html":
        from netfab.diagnose.page import page

        click.echo(page(picture), nl=False)
    else:
        from netfab.diagnose.svg import svg

        click.echo(svg(picture), nl=False)


def _planned(topology: Topology, file: str, where: Any) -> Mapping[str, Any]:
    """A plan's summary; if there can be none here, nothing and the reason."""
    from netfab import fabric
    from netfab.cli import show

    if topology.hosts or topology.store:
        return {}
    try:
        proposal = fabric.plan(topology, file, where, take_over=True)
    except NetfabError as error:
        show.warn([f"planned addresses are not shown: {error}"])
        return {}
    return fabric.plan_data(topology, proposal.plan, ())
