"""How a failure is shown: the one place where errors become text, or JSON."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import click

from netfab.errors import Interrupted, NetfabError, Several, each_of


def show_bug(error: Exception) -> int:
    """Show an unexpected exception; in full if NETFAB_TRACEBACK is set."""
    if os.environ.get("NETFAB_TRACEBACK"):
        raise error
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = f"{os.path.basename(frame.tb_frame.f_code.co_filename)}:{frame.tb_lineno}" if frame else "?"
    click.echo(
        printable(f"netfab: error: a mistake in netfab: {type(error).__name__}: {error} ({place})"), err=True
    )
    click.echo("hint: NETFAB_TRACEBACK=1 shows all of it; please report it", err=True)
    return 1


def show_error(error: NetfabError, as_json: bool = False) -> None:
    """`netfab: error: …` for each, and a hint if the remedy is known. Never a raw control character."""
    each = each_of(error)
    if as_json:
        import json

        click.echo(json.dumps({"version": 1, "errors": [error_data(one) for one in each]}, indent=2))
        return
    for one in each:
        click.echo(printable(f"netfab: error: {one}"), err=True)
        if one.hint:
            click.echo(printable(f"hint: {one.hint}"), err=True)
    if isinstance(error, Several) and error.hint:
        click.echo(printable(f"hint: {error.hint}"), err=True)
    if error.undone:
        click.echo("Everything is as it was before.", err=True)


def end_in_part(errors: Iterable[NetfabError]) -> None:
    """Report in words, even beside data, that part of the output is missing, and exit."""
    for error in (told := {str(error): error for error in errors}).values():
        show_error(error)
    if told:
        raise SystemExit(1)


def exit_code(error: NetfabError) -> int:
    """1; as in a shell, 130 or 143 after SIGINT or SIGTERM."""
    return next((128 + one.number for one in each_of(error) if isinstance(one, Interrupted)), 1)


def error_data(error: NetfabError) -> dict[str, Any]:
    """An error as `-o json` prints it; its place is null if it is in no file."""
    file, line, column, path = error.at or (None, None, None, None)
    return {
        "file": file,
        "line": line,
        "column": column,
        "path": path,
        "message": error.message,
        "hint": error.hint,
    }


def printable(text: str) -> str:
    """Text from a file or the kernel, safe for a terminal: control and bidi characters are escaped."""
    return "".join(
        char
        if char in "\n\t" or char.isprintable()
        else char.encode("unicode_escape", "backslashreplace").decode()
        for char in text
    )
