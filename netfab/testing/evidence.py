"""The artefacts of a fabric whose test failed: a directory of plain files."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from netfab.errors import NetfabError
from netfab.testing import whole
from netfab.testing.fabric import Fabric
from netfab.testing.node import Verdict

_LAST = 20  # a test's steps shown if nothing is wrong any more; one that polls has hundreds
HANGS = (NetfabError, OSError, EOFError)  # if the sandbox itself is gone: keep what can be kept


def begin(directory: Path, failure: str, again: str) -> None:
    """Write pytest's report of the failure, and the command that runs the test again."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "failure.txt").write_text(f"{failure}\n")
    (directory / "reproduce.txt").write_text(f"{again}\n")


def keep(fabric: Fabric, directory: Path, beside: Path) -> None:
    """Write everything that may show the cause. beside: pytest's initial directory."""
    directory.mkdir(exist_ok=True)
    topology = directory / "topology.yaml"
    with suppress(*HANGS):
        text, graph = fabric.shown()
        topology.write_text(text)
        (directory / "graph.mermaid").write_text(graph)
        with open(directory / "reproduce.txt", "a") as file:
            file.write(f"netfab lab {shlex.quote(os.path.relpath(topology, beside))}\n")
    (directory / "timeline.txt").write_text("".join(_timeline(fabric)))
    for name, content in (("status.json", _status), ("why.txt", _why)):
        with suppress(*HANGS):
            (directory / name).write_text(content(fabric))
    _logs(fabric, directory / "logs")
    with suppress(*HANGS):
        _frames(fabric, directory / "pcap")


def safe(name: str) -> str:
    """The name, made safe as a file name."""
    return re.sub(r"[^\w.=,+-]+", "_", name).strip("_")[:150] or "_"


def _timeline(fabric: Fabric) -> Iterator[str]:
    begun = fabric.timeline[0][0] if fabric.timeline else 0.0
    for when, what in fabric.timeline:
        clock = datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds")
        yield f"{clock} +{when - begun:.3f}s {what}\n"


def _status(fabric: Fabric) -> str:
    found = fabric.sandbox.call(whole.status, fabric.name, fabric.hosts)
    return json.dumps(found, indent=1) + "\n"


def _why(fabric: Fabric) -> str:
    """The checks that failed when tried, else those that fail now; and what changed since the apply."""
    told = [*map(str, fabric.failures)]
    if not told and (failing := _failing(fabric)):
        told = ["When the test had failed:", *map(str, failing)]
    if drift := fabric.sandbox.call(whole.drift, fabric.name, fabric.hosts):
        told.append("\n".join(["not as it was applied:", *(f"  {line}" for line in drift)]))
    return "\n\n".join(told or ["\n  ".join(_all_is_well(fabric))]) + "\n"


def _all_is_well(fabric: Fabric) -> Iterator[str]:
    """Also the test's last steps, which may have been undone since, as at the end of a `with`."""
    yield "now every check that was tried holds, and all is as it was applied; before, in this test:"
    noted = [what for _, what in fabric.timeline]
    begun = max((number for number, what in enumerate(noted) if what.startswith("test ")), default=-1)
    done = noted[begun + 1 :] or ["nothing that was noted"]
    if len(done) > _LAST:
        yield f"({len(done) - _LAST} steps, in timeline.txt)"
    yield from done[-_LAST:]


def _failing(fabric: Fabric) -> list[Verdict]:
    """The failing ones of the file's checks, and of what the test tried without getting an answer."""
    asked = [*dict.fromkeys([*fabric.unanswered, *fabric.checks])]
    return [verdict for verdict in fabric.verdicts(asked) if not verdict]


def _logs(fabric: Fabric, directory: Path) -> None:
    """The output of programs: the test's, and the file's."""
    texts: dict[str, str] = {}
    for number, program in enumerate(fabric.programs, 1):
        head = f"$ {shlex.join(program.argv)}\n"
        texts[f"{program.node}-{number}.txt"] = f"{head}{program.out}{program.err}"
    with suppress(*HANGS):
        logs = fabric.sandbox.call(whole.logs, fabric.name, fabric.hosts)
        texts |= {f"{node}.txt": text for node, text in logs.items()}
    _write(directory, {name: text.encode() for name, text in texts.items()})


def _frames(fabric: Fabric, directory: Path) -> None:
    if fabric.recorder is not None:
        fabric.recorder.tell(None)
        files, _ = fabric.recorder.hear()
        _write(directory, {f"{name}.pcapng": data for name, data in files.items()})


def _write(directory: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        directory.mkdir(exist_ok=True)
        (directory / safe(name)).write_bytes(data)
