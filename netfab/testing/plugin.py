"""The pytest plugin: fixtures that give a test its own fabric. Imports are deferred until one is used."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from netfab.testing.fabric import Fabric

MARKER = (
    "netfab(topology=None, *, requires=(), seed=0, hosts='simulated'): the topology of the fixture `netfab`:"
    " a text, a file beside the test (topology.yaml by default), or a dict;"
    " `requires` names what the kernel must have"
)
KEPT = "netfab-artefacts"  # report property: where the artefacts are
_FABRICS = ("netfab", "netfab_module", "netfab_session")
_FIXTURES = {*_FABRICS, "netfab_factory"}
_FAILED = pytest.StashKey[bool]()
_MADE = pytest.StashKey[list[Any]]()  # fabrics the factory made for a test


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("netfab")
    group.addoption(
        "--netfab-artefacts",
        metavar="DIR",
        default="artefacts",
        help="where is kept what failed tests leave of their fabrics (%(default)s; empty: nowhere)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)


@pytest.fixture
def netfab(request: pytest.FixtureRequest) -> Iterator[Fabric]:
    """The fabric of the marker `netfab`, for this test only."""
    __tracebackhide__ = True
    yield from _marked(request)


@pytest.fixture(scope="module")
def netfab_module(request: pytest.FixtureRequest) -> Iterator[Fabric]:
    """The fabric of the module's marker (`pytestmark`), for all of its tests; rebuilt after a failure."""
    yield from _marked(request)


@pytest.fixture(scope="session")
def netfab_session(request: pytest.FixtureRequest) -> Iterator[Fabric]:
    """The fabric of topology.yaml in pytest's root directory, for all tests; rebuilt after a failure."""
    yield from _marked(request)


@pytest.fixture
def netfab_factory(request: pytest.FixtureRequest) -> Iterator[Callable[..., Fabric]]:
    """Fabrics as a test asks for them: netfab_factory(topology, seed=0). They end with the test."""
    from netfab.testing.given import given

    made: list[Fabric] = []

    def make(topology: str | Path | dict[str, Any] | None = None, *, seed: int = 0) -> Fabric:
        made.append(_begun(request, given(topology, request.path), seed))
        return made[-1]

    request.node.stash[_MADE] = made
    yield make
    for fabric in made:
        fabric.close()


def _marked(request: pytest.FixtureRequest) -> Iterator[Fabric]:
    __tracebackhide__ = True
    from netfab.testing.given import DEFAULT, given
    from netfab.testing.requirements import refuse_other_hosts, refuse_unknown_words, skip_without

    marker = request.node.get_closest_marker("netfab")
    words = dict(marker.kwargs) if marker else {}
    refuse_unknown_words(words)
    refuse_other_hosts(words.get("hosts", "simulated"))
    skip_without(words.get("requires", ()))
    beside = request.path if request.scope != "session" else request.config.rootpath / DEFAULT
    topology = marker.args[0] if marker and marker.args else words.get("topology")
    fabric = _begun(request, given(topology, beside), words.get("seed", 0))
    yield fabric
    fabric.close()


def _begun(request: pytest.FixtureRequest, topology: Any, seed: int) -> Fabric:
    __tracebackhide__ = True
    from netfab.testing.fabric import Fabric

    return Fabric(topology, seed, recorded=bool(request.config.getoption("netfab_artefacts")))


def pytest_runtest_call(item: pytest.Item) -> None:
    for fabric in _fabrics(item):
        fabric.begins(item.name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    if call.excinfo is not None:
        _note_hints(call.excinfo.value)
    report = yield
    skipped = call.excinfo is not None and call.excinfo.errisinstance(pytest.skip.Exception)
    if call.excinfo is not None and not skipped and call.when != "teardown":
        item.stash[_FAILED] = True
        if report.failed and _FIXTURES.intersection(getattr(item, "fixturenames", ())):
            try:
                _keep(item, report)
            except Exception as error:  # it must not hide the test's own failure
                report.sections.append(("netfab", f"artefacts could not be kept: {error!r}"))
    if call.when == "teardown" and item.stash.get(_FAILED, False):
        for fabric in _fabrics(item):
            fabric.rebuild_when_used()
    return report


def _note_hints(error: BaseException) -> None:
    """Have pytest print the hint, too, once: a fixture's error is shared by all its tests."""
    errors = sys.modules.get("netfab.errors")
    if errors is not None and isinstance(error, errors.NetfabError):
        for one in dict.fromkeys((*errors.each_of(error), error)):
            if one.hint and (note := f"hint: {one.hint}") not in getattr(error, "__notes__", ()):
                error.add_note(note)


def _fabrics(item: pytest.Item) -> list[Fabric]:
    """A test's fabrics. A fixture with one of our names may be the project's own."""
    ours = sys.modules.get("netfab.testing.fabric")  # imported if there is any fabric
    if ours is None:
        return []
    given = getattr(item, "funcargs", {})
    found = [given.get(name) for name in _FABRICS]
    return [fabric for fabric in found if isinstance(fabric, ours.Fabric)] + item.stash.get(_MADE, [])


def _keep(item: pytest.Item, report: pytest.TestReport) -> None:
    from netfab.testing.evidence import begin, keep, safe

    root = item.config.getoption("netfab_artefacts")
    if not root:
        return
    here = item.config.invocation_params.dir
    directory = here / root / safe(item.nodeid)
    name = os.path.relpath(item.path, here) + item.nodeid.removeprefix(item.nodeid.partition("::")[0])
    begin(directory, report.longreprtext, f"pytest {shlex.quote(name)}")
    fabrics = _fabrics(item)
    for number, fabric in enumerate(fabrics, 1):
        keep(fabric, directory / f"{number}-{fabric.name}" if len(fabrics) > 1 else directory, here)
    for properties in (item.user_properties, report.user_properties):  # of this phase, and of later ones
        properties.append((KEPT, str(directory)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print where artefacts were kept; on GitHub, also as annotations and summary."""
    reports = [
        report
        for report in terminalreporter.getreports("failed") + terminalreporter.getreports("error")
        if isinstance(report, pytest.TestReport) and KEPT in dict(report.user_properties)
    ]
    if not reports:
        return
    terminalreporter.section("netfab artefacts")
    for report in reports:
        terminalreporter.write_line(f"{report.nodeid}: {dict(report.user_properties)[KEPT]}")
    if os.environ.get("GITHUB_ACTIONS") == "true":
        from netfab.testing.github import annotation, summary

        for report in reports:
            terminalreporter.write_line(annotation(report))
        if path := os.environ.get("GITHUB_STEP_SUMMARY"):
            with open(path, "a", encoding="utf-8") as file:
                file.writelines(
                    summary(report, str(dict(report.user_properties)[KEPT])) for report in reports
                )
