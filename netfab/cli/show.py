"""How results are printed: changes with terraform's signs, tables, JSON and YAML.

Data on stdout, talk on stderr.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from netfab.cli.failures import printable as printable
from netfab.engine.apply import Progress, no_progress
from netfab.engine.diff import Change
from netfab.engine.diff import counts_of as counts_of
from netfab.engine.diff import describe as describe

if TYPE_CHECKING:
    from netfab.topology.adhoc import Attachment

_COLOURS = {"+": "green", "~": "yellow", "-": "red", "-/+": "red"}
_NONE: Mapping[str, str] = {}
_SIGNS = {"create": "+", "update": "~", "delete": "-", "replace": "-/+"}


def show_changes(
    changes: Iterable[Change], done: bool, source: str, titles: Mapping[str, str] = _NONE
) -> None:
    """One line for each, and the closing line. `titles`: of guests, shown instead of their ids."""
    show_described(describe(changes), done, source, titles)


def show_described(
    found: Sequence[Mapping[str, Any]], done: bool, source: str, titles: Mapping[str, str] = _NONE
) -> None:
    """The same for changes in the form of `describe`; a change's `host` is shown."""
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")  # no-color.org
    for change in found:
        sign = _SIGNS[change["action"]]
        line = f"{sign:>3} {change['kind']} {titled(change['name'], titles)}"
        if change["why"] and change["action"] != "create":
            line += f": {change['why']}"
        if change["restarts"]:
            line += " (restarts its program)" if change["action"] != "delete" else " (stops its program)"
        line += f" on {change['host']}" if "host" in change else ""
        click.echo(click.style(printable(line), fg=_COLOURS[sign]) if colour else printable(line))
    click.echo(closing(Counter(change["action"] for change in found), done, source))


def titled(text: str, titles: Mapping[str, str]) -> str:
    """The text with guests' displayed names."""
    for label, title in titles.items():
        text = text.replace(label, title)
    return text


def closing(counts: Mapping[str, int], done: bool, source: str) -> str:
    """`Plan: 3 to add, 1 to change, 0 to destroy.`, or that there is nothing to do."""
    if not counts:
        return f"No changes. The kernel matches {printable(source)}."
    create, change, delete, replace = (counts.get(action, 0) for action in _SIGNS)
    add, drop = create + replace, delete + replace
    if done:
        return f"Applied: {add} added, {change} changed, {drop} destroyed."
    return f"Plan: {add} to add, {change} to change, {drop} to destroy."


def say_gone(gone: Iterable[Attachment]) -> None:
    """On stderr, what was attached to guests that no longer exist."""
    for one in gone:
        told = f"{one.interface} of {one.title} is forgotten: that guest is gone"
        click.echo(printable(told), err=True)


def say_inhabitants(left: Sequence[Mapping[str, Any]]) -> None:
    """On stderr, the processes still in nodes that are gone."""
    for name in dict.fromkeys(one["namespace"] for one in left):
        pids = [str(one["pid"]) for one in left if one["namespace"] == name]
        are = "1 process is" if len(pids) == 1 else f"{len(pids)} processes are"
        told = f"{are} still in what was {name}, whose namespace lasts as long: {', '.join(pids)}"
        click.echo(printable(told), err=True)


def warn(warnings: Iterable[str]) -> None:
    """On stderr."""
    for warning in warnings:
        click.echo(printable(f"warning: {warning}"), err=True)


def show_data(data: Any, output: str, table: Callable[[], Iterable[Sequence[str]]]) -> None:
    """As JSON, YAML, or the rows of `table`, the first of which is its head."""
    if output == "json":
        click.echo(json.dumps(data, indent=2))
    elif output == "yaml":
        import yaml

        click.echo(yaml.safe_dump(data, sort_keys=False), nl=False)
    else:
        show_table(table())


def show_table(rows: Iterable[Sequence[str]]) -> None:
    """Columns as wide as needed; never truncated. A row is one line, whatever it contains."""
    table = [[printable(cell).replace("\n", "\\n").replace("\t", "\\t") for cell in row] for row in rows]
    if not table:
        return
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def progress_bar() -> Progress:
    """A progress line on stderr; nothing if stderr is no terminal."""
    if not sys.stderr.isatty():
        return no_progress

    def show(done: int, total: int, what: str) -> None:
        if total > 200:
            end = "\r" if done < total else "\r\033[K"
            sys.stderr.write(f"\r\033[K{done}/{total} {printable(what)[:60]}{end}")
            sys.stderr.flush()

    return show


def size(number: float) -> str:
    """Bytes with three digits, in docker's notation for memory: 1.21MiB."""
    power = min((int(number).bit_length() - 1) // 10, 3) if number >= 1 else 0
    return f"{number / 1024**power:.4g}{('B', 'KiB', 'MiB', 'GiB')[power]}"
