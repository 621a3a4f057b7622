"""A container that a user names, found: for now namespaces of /run/netns and processes."""

from __future__ import annotations

import os
from typing import NamedTuple

from netfab.errors import NetfabError


class GuestNotFound(NetfabError):
    """There is no such guest."""


class GuestNotRunning(NetfabError):
    """It is there, and does not run."""


class Guest(NamedTuple):
    """One that runs."""

    kind: str
    id: str
    name: str
    pid: int | None
    started: str
    path: str

    @property
    def label(self) -> str:
        """How to find it again."""
        return f"{self.kind}:{self.id}"


def find(word: str) -> Guest:
    """Raises GuestNotFound, GuestNotRunning."""
    kind, _, name = word.rpartition(":")
    if kind == "pid":
        try:
            with open(f"/proc/{name}/stat") as file:
                started = file.read().rpartition(")")[2].split()[19]
        except OSError as error:
            raise GuestNotFound(f"there is no process {name}") from error
        return Guest("pid", name, name, int(name), started, f"/proc/{name}/ns/net")
    path = name if name.startswith("/") else f"/run/netns/{name}"
    if not os.path.exists(path):
        raise GuestNotFound(f"there is no guest {word}")
    return Guest("netns", name, name, None, str(os.stat(path).st_ino), path)
