"""What is kept of a fabric whose test failed: a directory of plain files."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from netfab.errors import NetfabError
from netfab.testing import whole
from netfab.testing.fabric import Fabric

HANGS = (NetfabError, OSError, EOFError)  # when the sandbox itself is gone: what can be kept is kept


def keep(fabric: Fabric, directory: Path, again: str) -> None:
    """Write all that may tell the cause. again: the command that runs the test again."""
    directory.mkdir(parents=True, exist_ok=True)
    topology = directory / "topology.yaml"
    with suppress(*HANGS):
        text, graph = fabric.shown()
        topology.write_text(text)
        (directory / "graph.mermaid").write_text(graph)
    (directory / "timeline.txt").write_text("".join(_timeline(fabric)))
    (directory / "reproduce.txt").write_text(f"{again}\nnetfab lab {shlex.quote(str(topology))}\n")
    for name, content in (("status.json", _status), ("why.txt", _why)):
        with suppress(*HANGS):
            (directory / name).write_text(content(fabric))
    _logs(fabric, directory / "logs")
    with suppress(*HANGS):
        _frames(fabric, directory / "pcap")


def safe(name: str) -> str:
    """A name as a file can have it."""
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
    """What did not hold when it was tried, and what has changed since it was applied."""
    told = [str(verdict) for verdict in fabric.failures]
    told += fabric.sandbox.call(whole.drift, fabric.name, fabric.hosts)
    return "\n".join(told or ["nothing that was tried failed, and all is as it was applied"]) + "\n"


def _logs(fabric: Fabric, directory: Path) -> None:
    """What the programs printed: those of the test, and those of the file."""
    texts: dict[str, str] = {}
    for number, program in enumerate(fabric.programs, 1):
        head = f"$ {shlex.join(program.argv)}\n"
        texts[f"{program.node}-{number}.txt"] = f"{head}{program.out}{program.err}"
    with suppress(*HANGS):
        texts |= fabric.sandbox.call(whole.logs, fabric.name, fabric.hosts)
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
