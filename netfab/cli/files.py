"""Which file, which fabric: what FILE and NAME on the command line mean, and what they are when left out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from netfab.cli import complete
from netfab.errors import AppliedElsewhere, NetfabError, StoreError

if TYPE_CHECKING:
    from netfab.remote.nodes import There
    from netfab.store.book import Entry
    from netfab.store.store import Record
    from netfab.topology.schema import Topology

FILE_VARIABLE = "NETFAB_FILE"
file_argument = click.argument("file", required=False, envvar=FILE_VARIABLE, shell_complete=complete.files)
file_option = click.option(
    "-f",
    "-t",
    "--file",
    "file_option",
    metavar="FILE",
    shell_complete=complete.files,
    help="The same as FILE. Default: $NETFAB_FILE, topology.yaml, *.netfab.yaml, or the only *.yaml here.",
)
set_option = click.option(
    "--set",
    "settings",
    metavar="PATH=VALUE",
    multiple=True,
    help="A value in place of the file's: nodes.web.scale=3. VALUE is YAML, as in the file.",
)
name_option = click.option("--name", help="The fabric's name, instead of the file's own.")


def of_a_file(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command FILE, and the options that belong to one."""
    for given in (set_option, name_option, file_option, file_argument):
        command = given(command)
    return command


class NoFile(NetfabError):
    """FILE was left out, and this directory has none, or several."""


def find_file(argument: str | None, option: str | None = None) -> str:
    """The topology file: as given, else the only one in this directory. Raises NetfabError.

    `argument` may come from the environment, which an option overrides.
    """
    if option or argument:
        return str(option or argument)
    for name in ("topology.yaml", "topology.yml"):
        if os.path.exists(name):
            return name
    from glob import glob

    found = sorted({*glob("*.netfab.yaml"), *glob("*.netfab.yml")})
    if not found:
        found = sorted({*glob("*.yaml"), *glob("*.yml")})
    if len(found) == 1:
        return found[0]
    if found:
        raise NoFile(f"which file? There are {', '.join(found)}", hint=f"name one: netfab {_command()} FILE")
    raise NoFile(
        "there is no topology.yaml here",
        hint=f"name a file: netfab {_command()} FILE; `netfab init` writes one to start from",
    )


def _command() -> str:
    return str(click.get_current_context().info_name)


def read_topology(file: str, name: str | None = None, settings: Sequence[str] = ()) -> Topology:
    """The topology of a file, as fabric.py has it."""
    from netfab import fabric
    from netfab.cli import standins

    standins.import_yaml()
    return fabric.load(file, name, settings)


def is_file(argument: str) -> bool:
    """An argument with a slash or a YAML ending is a file, else a fabric's name."""
    return "/" in argument or argument.endswith((".yaml", ".yml")) or argument == "-"


def fabric_name(argument: str | None, where: Any) -> str:
    """A fabric by NAME, by FILE, by the file in this directory, or the only one that exists."""
    if argument and not is_file(argument):
        return valid_name(argument)
    if file := argument or os.environ.get(FILE_VARIABLE):
        return _name_of(file, where)
    records = _applied_from_files(where)
    here = [record for record in records if os.path.dirname(record.file) == os.getcwd()]
    if len(here) == 1:
        return here[0].name
    if len(records) == 1:
        return records[0].name
    with suppress(NoFile):
        return _name_of(find_file(None), where)
    records = records or known_fabrics(where)  # those of `run` and `attach`, which have no file
    if len(records) == 1:
        return records[0].name
    if not records:
        from netfab.where import no_fabrics

        raise NetfabError("there is no fabric on this host", hint=no_fabrics(where))
    raise _which(records)


def fabric_of_node(node: str, where: Any) -> str:
    """The only fabric with a node of that name; else the one used if no name is given."""
    holders = [one.name for one in known_fabrics(where) if node in _nodes_of(one)]
    return holders[0] if len(holders) == 1 else fabric_name(None, where)


def _nodes_of(one: Record | Entry) -> Collection[str]:
    summary = json.loads(one.summary) if isinstance(one.summary, str) else one.summary
    nodes: Collection[str] = summary["nodes"]
    return nodes


def fabrics_to_destroy(targets: Sequence[str], option: str | None, where: Any) -> dict[str, str]:
    """Each fabric, and the FILE or NAME given for it.

    Left out: the one applied from a file in this directory, or the only one from below it; none if there are
    no fabrics. A fabric applied from elsewhere has to be named.
    """
    files = [option] if option else []
    if not targets and not option and os.environ.get(FILE_VARIABLE):
        files = [os.environ[FILE_VARIABLE]]
    if targets or files:
        return {_name_of(file, where): file for file in files} | {
            fabric_name(target, where): target for target in targets
        }
    records = _applied_from_files(where)
    here = [record.name for record in records if os.path.dirname(record.file) == os.getcwd()]
    if len(here) == 1:
        return {here[0]: here[0]}
    with suppress(NoFile):
        file = find_file(None)
        return {_name_of(file, where): file}
    below = [record.name for record in records if record.file.startswith(f"{os.getcwd()}/")]
    if len(below) == 1:
        return {below[0]: below[0]}
    if not records:
        known_fabrics(where)  # raises StoreError if that can't be known
        return {}
    raise _which(records)


def _which(records: Sequence[Record | Entry]) -> NetfabError:
    names = [record.name for record in records]
    is_one = f"is {names[0]}" if len(names) == 1 else f"are {', '.join(names)}"
    return NetfabError(f"which fabric? There {is_one}", hint=f"name one: netfab {_command()} {names[0]}")


def _name_of(file: str, where: Any) -> str:
    """The fabric of a file, which may be gone. Raises NetfabError if that can't be known.

    Raises AppliedElsewhere, with a way to name that fabric all the same.
    """
    from netfab import fabric

    _ask_about(file, where)
    try:
        name = fabric.name_of(file, where)
    except AppliedElsewhere as error:
        error.hint = f"netfab {_command()} {error.fabric}"
        raise
    if not name:
        raise NetfabError(f"{file} does not say which fabric it is", hint="`netfab ls` lists their names")
    return valid_name(name)


def _ask_about(file: str, where: Any) -> None:
    """Record a fabric that another controller applied, so that it is known here, too.

    Raises StoreError if that can't be known.
    """
    from netfab.fabric import records_of_any
    from netfab.queries.status import shared_by
    from netfab.where import opened_book, shared_book

    found = shared_by(file) if file != "-" else None
    if found is None or opened_book(where).entry(found[0]):
        return
    name, store = found
    try:
        with shared_book(store, where) as book:
            entry = book.entry(name)
    except StoreError:
        if name not in {record.name for record in records_of_any(where)}:
            raise
    else:
        if entry is not None:
            opened_book(where).keep(entry)


def missing_file(target: str, name: str, where: Any) -> Iterator[str]:
    """The error for a FILE or NAME that does not exist and never did."""
    from netfab.topology.suggest import did_you_mean

    if is_file(target) and target != "-" and not os.path.exists(target):
        yield f"there is no file {target}, and no fabric {name}"
    with suppress(NetfabError):  # a broken store does not prevent a destroy
        if hint := did_you_mean(name, [one.name for one in known_fabrics(where)]):
            yield f"hint: {hint}"


def _applied_from_files(where: Any) -> list[Record | Entry]:
    """Those applied from topology files; none if that can't be read, which does not prevent a destroy."""
    from netfab.topology.grammar import NO_FABRIC_NAMES

    with suppress(StoreError):
        return [one for one in known_fabrics(where) if one.name not in NO_FABRIC_NAMES]
    return []


def known_fabrics(where: Any) -> list[Record | Entry]:
    """Every fabric of this host, and of the hosts that it controls."""
    from netfab.where import opened_book, records_of_any

    entries = opened_book(where).entries()
    spread = {entry.name for entry in entries}
    return [*(record for record in records_of_any(where) if record.name not in spread), *entries]


def entry_of(name: str, where: Any) -> Entry | None:
    """What this controller knows of a fabric on other hosts; None: it is this machine's own."""
    from netfab.where import known_entry

    return known_entry(name, where)


def far_nodes(nodes: Iterable[str], where: Any) -> dict[str, There]:
    """Those of the nodes that are on other hosts that this controller knows."""
    from netfab.where import opened_book

    if not opened_book(where).entries():
        return {}
    from netfab.remote.nodes import find

    return find(nodes, where)


def every_far_node(where: Any) -> dict[str, There]:
    """All nodes of fabrics across hosts that this controller knows."""
    from netfab.where import opened_book

    if not opened_book(where).entries():
        return {}
    from netfab.remote.nodes import all_nodes

    return {there.name: there for there in all_nodes(where)}


def valid_name(text: str) -> str:
    """A fabric's name as typed: it becomes part of paths and nft identifiers. Raises NetfabError."""
    from netfab.topology import grammar

    try:
        return grammar.name(text)
    except grammar.Wrong as wrong:
        raise NetfabError(str(wrong)) from wrong


def absolute(file: str) -> str:
    """The file's path as the store has it."""
    return file if file == "-" else os.path.abspath(file)
