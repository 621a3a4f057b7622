"""A file of another tool, read from the disk with what belongs to it. What it means is convert/'s."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final, Literal

from netfab.convert.draft import Converted
from netfab.errors import NetfabError
from netfab.topology import MAX_BYTES

Tool = Literal["compose", "containerlab", "kathara"]
TOOLS: Final[tuple[Tool, ...]] = ("compose", "containerlab", "kathara")


def convert(file: str, tool: Tool | None = None) -> Converted:
    """The topology of another tool's file, and what it leaves out. tool: by default recognised by the file.

    Raises NetfabError if the tool can't be recognised, or the file can't be read.
    """
    if os.path.isdir(file):
        file = os.path.join(file, "lab.conf")
    text = _text(file)
    tool = tool or _tool_of(file, text)
    directory = os.path.dirname(os.path.abspath(file))
    name = os.path.basename(directory)
    if tool == "kathara":
        from netfab.convert.kathara import Lab, kathara

        return kathara(Lab(text, file, *_beside(directory)), name)
    if tool == "containerlab":
        from netfab.convert.containerlab import containerlab

        return containerlab(text, file, name, os.environ)
    from netfab.convert.compose import compose

    return compose(text, file, name, {**_dotenv(directory), **os.environ})


def _tool_of(file: str, text: bytes) -> Tool:
    lines = text.splitlines()
    if os.path.basename(file) == "lab.conf":
        return "kathara"
    if any(line.startswith(b"topology:") for line in lines):
        return "containerlab"
    if any(line.startswith(b"services:") for line in lines):
        return "compose"
    raise NetfabError(
        f"{file}: whose file is it? It has neither compose's `services:` nor containerlab's `topology:`",
        hint=f"--from {'|'.join(TOOLS)}",
    )


def _text(file: str) -> bytes:
    try:
        with open(file, "rb") as opened:
            return opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise NetfabError(f"{file}: {error.strerror}") from error


def _beside(directory: str) -> tuple[dict[str, bytes], dict[str, list[str]]]:
    """The startup files of a Kathara lab, and the files in each device's directory."""
    startups: dict[str, bytes] = {}
    trees: dict[str, list[str]] = {}
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        if entry.name.endswith(".startup") and entry.is_file():
            startups[entry.name] = _text(entry.path)
        elif entry.is_dir() and not entry.name.startswith("."):
            trees[entry.name] = sorted(
                os.path.relpath(os.path.join(root, file), entry.path)
                for root, _, files in os.walk(entry.path)
                for file in files
            )
    return startups, trees


def _dotenv(directory: str) -> dict[str, str]:
    """The .env file that `docker compose` reads; the environment takes precedence."""
    found: dict[str, str] = {}
    with suppress(OSError), open(f"{directory}/.env", encoding="utf-8", errors="surrogateescape") as opened:
        for line in opened:
            name, equals, value = line.strip().partition("=")
            if equals and name.isidentifier():
                found[name] = value.strip("'\"")
    return found
