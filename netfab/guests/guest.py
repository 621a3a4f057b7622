"""What a guest is, and what a word may mean before anybody is asked whether it runs.

Knows processes by number and start time; knows no manager of containers.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from netfab.errors import GuestGone, NoGuest
from netfab.system.proc import start_ticks
from netfab.tuples import NamedTuple

_FULL_ID = re.compile("[0-9a-f]{64}")
_NAME = re.compile("[A-Za-z0-9_][A-Za-z0-9_.+-]{0,1023}")  # what Docker, Podman, crun or runc permit
_RUNNING = ("running", "paused")


class Guest(NamedTuple):
    """One run of something that has a network namespace of its own."""

    kind: str  # docker, podman, crun, runc, lxc, pid, netns or netfab
    id: str  # its lasting identity: a whole container id, an LXC name, "1234", "shop/web", a path
    name: str  # what people call it; the id if there is nothing else
    pid: int | None  # its first process, in our PID namespace; None for a namespace given by a path
    started: str  # which run of it: the process's start in clock ticks since boot, or the namespace's inode
    path: str  # of its network namespace

    @property
    def label(self) -> str:
        """Its unambiguous notation."""
        return f"{self.kind}:{self.id}"


def as_found(label: str, pid: int, started: str, path: str) -> Guest:
    """A guest that was found before, from its record; a `pid` of 0 means none."""
    kind, _, identity = label.partition(":")
    return Guest(kind, identity, identity, pid or None, started, path)


class Candidate(NamedTuple):
    """Something that a word may mean."""

    source: Source
    id: str
    names: tuple[str, ...] = ()
    state: str = ""  # in its manager's word; "": the list does not tell

    @property
    def name(self) -> str:
        """What people call it."""
        return self.names[0] if self.names else self.id

    @property
    def may_run(self) -> bool:
        """Whether it may have a process."""
        return self.state in ("", *_RUNNING)

    def guest(self) -> Guest:
        """As it runs now. Raises NoGuest, GuestGone, NoAnswer, OSError."""
        return self.source.guest(self)

    def __str__(self) -> str:
        label = short_label(f"{self.source.kind}:{self.id}")
        return label if self.name == self.id else f"{label} ({self.name})"


class Source(Protocol):
    """A source of guests of one kind."""

    @property
    def kind(self) -> str:
        """The prefix that selects only these."""

    def candidates(self) -> Iterable[Candidate]:
        """All that it knows. Raises OSError if there is no such manager; NoAnswer."""

    def guest(self, candidate: Candidate) -> Guest:
        """As it runs now. Raises NoGuest, GuestGone, NoAnswer, OSError."""


def short_label(label: str) -> str:
    """For people: a full id is cut to its first twelve digits, as by docker."""
    kind, _, text = label.partition(":")
    return f"{kind}:{text[:12]}" if is_full_id(text) else label


def is_full_id(text: str) -> bool:
    """Whether that is a container id of Docker or Podman, which is globally unique."""
    return _FULL_ID.fullmatch(text) is not None


def is_name(text: str) -> bool:
    """Whether a container manager permits that name."""
    return _NAME.fullmatch(text) is not None


def names_in(value: Any) -> tuple[str, ...]:
    """The names in a foreign list, without invalid ones (Docker's links to others: /a/b)."""
    listed = value if isinstance(value, list) else []
    return tuple(
        name.removeprefix("/") for name in listed if isinstance(name, str) and is_name(name.removeprefix("/"))
    )


def guest_of_manager(candidate: Candidate, pid_of: Callable[[], Any]) -> Guest:
    """The guest whose first process its manager reports.

    The manager is asked again after the process was examined: the PID may have been reused by
    then. Raises NoGuest, GuestGone, and what `pid_of` raises.
    """
    pid = pid_of()
    if pid is None or pid == 0:
        state = "" if candidate.may_run else f" ({candidate.state})"
        raise NoGuest(f"{candidate} does not run{state}", hint="only what runs has a network: start it first")
    if not isinstance(pid, int) or not 1 < pid < 1 << 31 or pid == os.getpid():
        raise NoGuest(f"{candidate}: its manager says that it is a process which can't be{_number(pid)}")
    guest = guest_of_process(candidate, pid)
    if pid_of() != pid:
        raise GuestGone(str(candidate))
    return guest


def _number(pid: Any) -> str:
    return f": {pid}" if isinstance(pid, int) and abs(pid) < 1 << 63 else ""


def guest_of_process(candidate: Candidate, pid: int) -> Guest:
    """Raises GuestGone; NoGuest for a process in our own network namespace, if we may see that."""
    path = f"/proc/{pid}/ns/net"
    ticks = start_ticks(pid)
    if ticks is None:
        raise GuestGone(str(candidate))
    try:
        found = os.stat(path)
    except PermissionError:  # not root, who will open it
        pass
    except OSError as error:
        raise GuestGone(str(candidate)) from error
    else:
        refuse_our_own(str(candidate), found)
    return Guest(candidate.source.kind, candidate.id, candidate.name, pid, str(ticks), path)


def refuse_our_own(label: str, found: os.stat_result) -> None:
    """Raises NoGuest if that is the network namespace that we are in."""
    here = os.stat("/proc/thread-self/ns/net")
    if (found.st_dev, found.st_ino) == (here.st_dev, here.st_ino):
        raise NoGuest(
            f"{label} has no network of its own: it is in this host's",
            hint="start it with a network of its own; an empty one will do (`--network none`)",
        )
