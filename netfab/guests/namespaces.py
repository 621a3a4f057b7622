"""Guests that no manager of containers is asked about: named namespaces, netfab's own nodes, processes.

A named namespace is a file of the kernel's nsfs, bound somewhere; ns(7), ip-netns(8).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from errno import ENOTTY

from netfab.errors import GuestGone, NoGuest, UnknownGuest
from netfab.guests.guest import Candidate, Guest, guest_of_process, refuse_our_own
from netfab.system import linux
from netfab.system.proc import start_ticks
from netfab.tuples import NamedTuple

_LISTED = "`ip netns` lists those that have names"


class Node(NamedTuple):
    """A node of a fabric on this host."""

    fabric: str
    name: str
    path: str  # of its namespace; "": the host's

    @property
    def id(self) -> str:
        """Its unique id among all fabrics."""
        return f"{self.fabric}/{self.name}"


class Nodes(NamedTuple):
    """netfab's own nodes. `every` raises what the store raises."""

    every: Callable[[], Iterable[Node]]
    kind: str = "netfab"

    def candidates(self) -> Iterator[Candidate]:
        """Every node, as `node` and as `fabric/node`."""
        for node in self.every():
            yield Candidate(self, node.id, (node.name,))

    def guest(self, candidate: Candidate) -> Guest:
        """Raises NoGuest, GuestGone, OSError."""
        path = next((node.path for node in self.every() if node.id == candidate.id), None)
        if path is None:
            raise GuestGone(str(candidate))
        if not path:
            raise NoGuest(f"{candidate} has no network of its own: it is in this host's")
        return _guest_at(candidate, path)


class NamedNamespaces(NamedTuple):
    """What `ip netns` lists, and any given path."""

    directory: str
    kind: str = "netns"

    def candidates(self) -> Iterator[Candidate]:
        """Raises OSError."""
        for name in sorted(os.listdir(self.directory)):
            if name.isprintable():
                yield Candidate(self, name)

    def at(self, path: str) -> Candidate:
        """The namespace at an absolute path; by its name if `ip netns` would list it."""
        directory, _, name = path.rpartition("/")
        listed = name.isprintable() and os.path.realpath(directory) == os.path.realpath(self.directory)
        return Candidate(self, name if listed else path)

    def guest(self, candidate: Candidate) -> Guest:
        """Raises NoGuest, OSError."""
        absolute = candidate.id.startswith("/")
        return _guest_at(candidate, candidate.id if absolute else f"{self.directory}/{candidate.id}")


class Processes(NamedTuple):
    """Any process, by its PID."""

    kind: str = "pid"

    def candidates(self) -> Iterator[Candidate]:
        """None: a process has to be given explicitly."""
        return iter(())

    def guest(self, candidate: Candidate) -> Guest:
        """Raises NoGuest, GuestGone."""
        digits = candidate.id
        if not digits.isascii() or not digits.isdigit() or len(digits) > 10 or digits[0] == "0":
            raise NoGuest(f"{candidate}: {digits!r} is not a process id")
        pid = int(digits)
        if pid == 1:
            raise NoGuest("process 1 is this machine itself")
        if start_ticks(pid) is None:
            raise UnknownGuest(f"there is no process {pid}")
        return guest_of_process(candidate, pid)


def open_bound(path: str) -> int:
    """A descriptor of the network namespace at that path. Raises OSError; NoGuest for anything else."""
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)  # opening a device or a FIFO could have side effects
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            raise NoGuest(f"{path} is not a network namespace", hint=_LISTED)
        fd = os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(place)
    try:
        kind = linux.namespace_kind(fd)
    except OSError as error:
        os.close(fd)
        if error.errno != ENOTTY:
            raise
        raise NoGuest(f"{path} is not a network namespace", hint=_LISTED) from error
    if kind != linux.CLONE_NEWNET:
        os.close(fd)
        raise NoGuest(f"{path} is a namespace, but not of a network")
    return fd


def _guest_at(candidate: Candidate, path: str) -> Guest:
    try:
        fd = open_bound(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UnknownGuest(f"there is no namespace at {path}", hint=_LISTED) from error
    try:
        found = os.fstat(fd)
    finally:
        os.close(fd)
    refuse_our_own(str(candidate), found)
    return Guest(candidate.source.kind, candidate.id, candidate.name, None, str(found.st_ino), path)
