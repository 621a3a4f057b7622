"""`check`: whether who should reach whom does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from netfab.cli.context import output_json, where_of
from netfab.cli.failures import end_in_part
from netfab.cli.files import (
    NoFile,
    entry_of,
    fabric_name,
    file_argument,
    file_option,
    find_file,
    is_file,
    name_option,
    read_topology,
    set_option,
    valid_name,
)
from netfab.errors import Interrupted, NetfabError, NotReached, raise_all

if TYPE_CHECKING:
    from netfab.diagnose.trials import Trial, Verdict
    from netfab.topology.schema import Check, Topology

_SIGNS = {True: "yes", False: "no", None: "?"}  # None: not tried
_RESULTS = {True: "ok", False: "FAILED", None: "?"}


@click.command("check")
@file_argument
@file_option
@name_option
@set_option
@click.option("--junit", metavar="F", help="Also write the results to this file, as JUnit's XML.")
@click.option("--pairs", is_flag=True, help="Instead, print who reaches whom: every node and every other.")
@output_json
@click.pass_context
def check_command(
    ctx: click.Context,
    file: str | None,
    file_option: str | None,
    name: str | None,
    settings: tuple[str, ...],
    junit: str | None,
    pairs: bool,
    output: str,
) -> None:
    """Try the `checks` of FILE, or of a fabric as it was applied (NAME, or the only one), from its nodes.

    Exits with 1 when one does not hold, or can't be tried: a host is not reached, a node was not applied.
    """
    from netfab.cli import show
    from netfab.diagnose.trials import every_pair, trials_of, untriable, untried

    where = where_of(ctx)
    name, checks = _meant(file_option or file, name, settings, pairs, where)
    summary = _summary(name, where)
    wrong = untriable(checks, summary)
    known = [check for check in checks if check not in wrong]
    trials = list(every_pair(summary) if pairs else trials_of(known, summary))
    if not trials:
        raise_all(error for errors in wrong.values() for error in errors)
        raise NetfabError(
            f"there is nothing to check in fabric {name}",
            hint="write `checks: [web reaches db on tcp/5432]` in its file, or give --pairs",
        )
    missing: list[NetfabError] = []
    try:
        found = _tried(name, trials, where)
    except NotReached as error:
        found = error.found
        missing.append(error)
    if not (missing or pairs or all(verdict.holds for verdict in found)):
        found = _explained(name, known, found, summary, where)
    if wrong:
        rest = iter(found)
        found = [untried(check, wrong[check]) if check in wrong else next(rest) for check in checks]
        missing += (error for errors in wrong.values() for error in errors)
    if junit:
        _write_junit(junit, name, found)
    if pairs:
        reached = _by_source(trials, found)
        data = {"version": 1, "fabric": name, "pairs": reached}
        show.show_data(data, output, lambda: _matrix(reached))
        end_in_part(missing)
        return
    data = {"version": 1, "fabric": name, "checks": [verdict._asdict() for verdict in found]}
    show.show_data(data, output, lambda: _rows(found))
    failed = sum(verdict.holds is False for verdict in found)
    missed = sum(verdict.holds is None for verdict in found)
    if not ctx.obj["quiet"]:
        said = "1 check" if len(found) == 1 else f"{len(found)} checks"
        more = f", {missed} not tried" if missed else ""
        click.echo(f"{said}, {failed} failed{more}", err=True)
    end_in_part(missing)
    raise SystemExit(1 if failed else 0)


def _meant(
    argument: str | None, name: str | None, settings: tuple[str, ...], pairs: bool, where: Any
) -> tuple[str, Sequence[Check]]:
    """The fabric, and the checks of a FILE, or those that it was applied with: that of NAME, or the only one.

    Pairs need no checks, and so no file.
    """
    if argument and not is_file(argument):
        if settings:
            raise click.UsageError("--set goes with FILE; a fabric that was applied is as it is")
        fabric = valid_name(argument)
    else:
        try:
            topology = read_topology(find_file(argument), name, settings)
            return topology.name, () if pairs else topology.checks
        except NoFile:
            fabric = valid_name(name) if name else fabric_name(None, where)
    return fabric, () if pairs else _as_applied(fabric, where).checks


def _as_applied(fabric: str, where: Any) -> Topology:
    from netfab.queries.status import topology_of
    from netfab.topology.load import load

    entry = entry_of(fabric, where)
    text = entry.topology if entry else topology_of(fabric, where)
    return load(text.encode(), fabric, "/", {})


def _summary(name: str, where: Any) -> dict[str, Any]:
    import json

    from netfab.where import known_record, read_store

    if entry := entry_of(name, where):
        return dict(entry.summary)
    with read_store(where) as store:
        found: dict[str, Any] = json.loads(known_record(store, name, where).summary)
    return found


def _tried(name: str, trials: Sequence[Trial], where: Any) -> list[Verdict]:
    if entry := entry_of(name, where):
        from netfab.multihost import across

        return across.tried(entry, trials, where)
    from netfab.diagnose.checks import tried

    return tried(name, trials, where)


def _explained(
    name: str, checks: Sequence[Check], found: Sequence[Verdict], summary: Mapping[str, Any], where: Any
) -> list[Verdict]:
    """With their causes; without if not everything can be read: the results are valid all the same."""
    from netfab.diagnose.why import explained

    try:
        if entry := entry_of(name, where):
            from netfab.remote.asking import There
            from netfab.remote.party import party

            with party(entry.hosts, where) as together:
                hosts = {host: There(together, host, name) for host in entry.hosts}
                return explained(checks, found, name, summary, hosts)
        from netfab.diagnose.this_host import Here

        return explained(checks, found, name, summary, {"": Here(name, where)})
    except Interrupted:
        raise
    except NetfabError:
        return list(found)


def _rows(found: Sequence[Verdict]) -> Iterator[Sequence[str]]:
    yield "CHECK", "RESULT", "TIME", "WHY"
    for verdict in found:
        seconds = f"{verdict.seconds * 1000:.1f} ms"
        yield verdict.sentence, _RESULTS[verdict.holds], seconds, verdict.reason


def _by_source(trials: Sequence[Trial], found: Sequence[Verdict]) -> dict[str, dict[str, bool | None]]:
    reached: dict[str, dict[str, bool | None]] = {}
    for trial, verdict in zip(trials, found, strict=True):
        reached.setdefault(trial.source, {})[trial.target] = verdict.holds
    return reached


def _matrix(reached: Mapping[str, Mapping[str, bool | None]]) -> Iterator[Sequence[str]]:
    yield "FROM", *reached
    for source, targets in reached.items():
        yield source, *(_SIGNS[targets[name]] if name in targets else "." for name in reached)


def _write_junit(path: str, name: str, found: Sequence[Verdict]) -> None:
    from xml.etree import ElementTree

    from netfab.cli import show

    suite = ElementTree.Element(
        "testsuite",
        name=name,
        tests=str(len(found)),
        failures=str(sum(verdict.holds is False for verdict in found)),
        errors=str(sum(verdict.holds is None for verdict in found)),  # not tried
        time=f"{sum(verdict.seconds for verdict in found):.3f}",
    )
    for verdict in found:
        case = ElementTree.SubElement(
            suite, "testcase", classname=name, name=verdict.sentence, time=f"{verdict.seconds:.3f}"
        )
        if not verdict.holds:
            result = "error" if verdict.holds is None else "failure"
            ElementTree.SubElement(case, result, message=show.printable(verdict.reason))
    try:
        with open(path, "wb") as file:
            ElementTree.ElementTree(suite).write(file, "utf-8", xml_declaration=True)
    except OSError as error:
        raise NetfabError(f"{path}: {error.strerror}") from error
