"""Which file, which fabric: what FILE and NAME on the command line mean, and what they are when left out."""

from __future__ import annotations

import os
from collections.abc import Iterable
from glob import glob
from typing import TYPE_CHECKING, Any

import click

from netfab.cli import complete
from netfab.errors import NetfabError, StoreError

if TYPE_CHECKING:
    from netfab.remote.nodes import There
    from netfab.store.book import Entry
    from netfab.store.store import Record

FILE_VARIABLE = "NETFAB_FILE"
file_argument = click.argument("file", required=False, envvar=FILE_VARIABLE, shell_complete=complete.files)
file_option = click.option(
    "-f",
    "-t",
    "--file",
    "file_option",
    metavar="FILE",
    shell_complete=complete.files,
    help="The same as FILE. Left out: $NETFAB_FILE, topology.yaml, *.netfab.yaml, or the only *.yaml here.",
)
name_option = click.option("--name", help="The fabric's name, instead of the file's own.")


def find_file(argument: str | None, option: str | None = None) -> str:
    """The topology file: as given, else the one in this directory. Raises NetfabError.

    `argument` may come from the environment, which an option overrides.
    """
    if option or argument:
        return str(option or argument)
    for name in ("topology.yaml", "topology.yml"):
        if os.path.exists(name):
            return name
    found = sorted({*glob("*.netfab.yaml"), *glob("*.netfab.yml")})
    if not found:
        found = sorted({*glob("*.yaml"), *glob("*.yml")})
    if len(found) == 1:
        return found[0]
    if found:
        raise NetfabError(f"which file? There are {', '.join(found)}", hint="name one: netfab apply FILE")
    raise NetfabError("there is no topology.yaml here", hint="`netfab init` writes one to start from")


def is_file(argument: str) -> bool:
    """An argument with a slash or a YAML ending is a file, else a fabric's name."""
    return "/" in argument or argument.endswith((".yaml", ".yml")) or argument == "-"


def fabric_name(argument: str | None, where: Any, option: str | None = None) -> str:
    """A fabric by NAME, by FILE, by the file in this directory, or the only one that there is."""
    from netfab.topology.grammar import NO_FABRIC_NAMES

    if argument and not is_file(argument) and not option:
        return valid_name(argument)
    if file := option or argument or os.environ.get(FILE_VARIABLE):
        return _named_in(file, where)
    unreadable, records = None, []
    try:
        records = [record for record in known_fabrics(where) if record.name not in NO_FABRIC_NAMES]
    except StoreError as error:  # it hinders no destroy
        unreadable = error
    here = [record for record in records if os.path.dirname(record.file) == os.getcwd()]
    if len(here) == 1:
        return here[0].name
    if len(records) == 1:
        return records[0].name
    try:
        return _named_in(find_file(None), where)
    except NetfabError:
        pass
    if unreadable is not None:
        raise unreadable
    if not records:
        raise NetfabError("there is no fabric on this host", hint="`netfab apply FILE` makes one")
    raise NetfabError(f"which fabric? There are {', '.join(record.name for record in records)}")


def known_fabrics(where: Any) -> list[Record | Entry]:
    """Every fabric of this host, and of the hosts that it controls."""
    from netfab import fabric
    from netfab.where import opened_book

    entries = opened_book(where).entries()
    spread = {entry.name for entry in entries}
    return [*(record for record in fabric.records_of_any(where) if record.name not in spread), *entries]


def entry_of(name: str, where: Any) -> Entry | None:
    """What this controller knows of a fabric on other hosts; None: it is this machine's own."""
    from netfab.where import opened_book

    return opened_book(where).entry(name)


def far_nodes(nodes: Iterable[str], where: Any) -> dict[str, There]:
    """Those of the nodes that are on hosts which this controller knows."""
    from netfab.where import opened_book

    if not opened_book(where).entries():
        return {}
    from netfab.remote.nodes import find

    return find(nodes, where)


def _named_in(file: str, where: Any) -> str:
    """The fabric of a file, which may be gone. Raises NetfabError where that can't be told."""
    from netfab import fabric

    name = fabric.name_of(file, where)
    if not name:
        raise NetfabError(f"{file} does not say which fabric it is", hint="`netfab ls` lists their names")
    return valid_name(name)


def valid_name(text: str) -> str:
    """A fabric's name as typed: it becomes part of paths and of nft's words. Raises NetfabError."""
    from netfab.topology import grammar

    try:
        return grammar.name(text)
    except grammar.Wrong as wrong:
        raise NetfabError(str(wrong)) from wrong


def absolute(file: str) -> str:
    """The file as the store keeps it."""
    return file if file == "-" else os.path.abspath(file)
