"""A failed test in GitHub Actions: an annotation of the code, and a section of the job summary."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

_ANYWHERE = ("%", "%25"), ("\r", "%0D"), ("\n", "%0A")
_IN_PROPERTIES = (":", "%3A"), (",", "%2C")


def annotation(report: pytest.TestReport) -> str:
    """A workflow command (docs.github.com: workflow commands, `error`)."""
    file, begin, _ = report.location
    crash = getattr(report.longrepr, "reprcrash", None)
    line = crash.lineno if crash is not None and crash.path.endswith(file) else (begin or 0) + 1
    title = _escaped(report.nodeid, (*_ANYWHERE, *_IN_PROPERTIES))
    return f"::error file={file},line={line},title={title}::{_escaped(_message(report), _ANYWHERE)}"


def summary(report: pytest.TestReport, kept: str) -> str:
    """Markdown: what went wrong, why, and the graph of the fabric."""
    directory = Path(kept)
    message = _message(report)
    lines = [f"### {report.nodeid}", "", "```", message, "```", ""]
    for name, language in (("why.txt", ""), ("graph.mermaid", "mermaid")):
        for path in sorted(directory.rglob(name)):
            if (text := path.read_text().rstrip()) not in message:  # a failed check's message has the reason
                lines += [f"```{language}", text, "```", ""]
    return "\n".join([*lines, f"Kept in `{os.path.relpath(kept)}`.", ""]) + "\n"


def _message(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return crash.message if crash is not None else str(report.longrepr)


def _escaped(text: str, codes: Iterable[tuple[str, str]]) -> str:
    for character, code in codes:
        text = text.replace(character, code)
    return text
