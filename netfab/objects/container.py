"""Container: a node's program, run by the bundled runtime in the node's network namespace.

Of how it fares one word is compared: whether it runs. A restart is the supervisor's business, and what has
done its work counts as running.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Self

from netfab.objects.base import EVERY, HOST, Dump, Name, Op, namespace_of
from netfab.objects.difference import changed, fields
from netfab.objects.ops import ChangeContainer, HaltContainer, PauseContainer, StartContainer, StopContainer
from netfab.tuples import NamedTuple

RUNNING, PAUSED, STOPPED, ENDED = "running", "paused", "stopped", "ended"
_DOWN = (STOPPED, ENDED)


class Probe(NamedTuple):
    """When the program counts as ready: kind tcp (port), http (port, path), exec (argv) or log (regex)."""

    kind: str
    port: int = 0
    path: str = "/"
    argv: tuple[str, ...] = ()
    regex: str = ""
    within: float = 60.0  # seconds


class Container(NamedTuple):
    """A program's specification, as in runtime/spec.py.

    Limits, restart policy, probes and state change in place.
    """

    fabric: str
    name: str
    argv: tuple[str, ...]
    image: str = "host"
    env: tuple[tuple[str, str], ...] = ()
    user: str = ""
    workdir: str = "/"
    hostname: str = ""
    mounts: tuple[tuple[str, str, bool], ...] = ()
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    memory: int | None = None  # bytes
    cpus: float | None = None
    pids: int | None = None
    restart: str = "no"
    netns: str = ""  # path of its network namespace; "": the host's
    hosts_file: str = ""
    resolv_conf: str = ""
    files: tuple[tuple[str, str, int, str], ...] = ()
    exec: tuple[tuple[str, ...], ...] = ()
    ready: tuple[Probe, ...] = ()
    addresses: tuple[str, ...] = ()  # its node's: probes try them besides loopback
    depends_on: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()  # links of the host that it writes to: it ends before they are deleted
    state: str = RUNNING  # or paused or stopped by a user; ended: failed, or never started
    read_only: bool = False
    init: bool = False
    terminal: bool = False
    stdin: str = ""  # "", once or open
    separate: bool = False
    remove: bool = False
    stop_signal: str = ""  # "": SIGTERM

    @property
    def fixed(self) -> Hashable:
        return self._replace(
            memory=None,
            cpus=None,
            pids=None,
            restart="",
            ready=(),
            addresses=(),
            depends_on=(),
            uses=(),
            state="",
        )

    @property
    def names(self) -> tuple[Name, ...]:
        return (Name("container", self.name),)

    @property
    def needs(self) -> tuple[Name, ...]:
        if not self.netns:
            return ()
        return namespace_of(f"node {self.netns.rpartition('/')[2]}")

    @property
    def after(self) -> tuple[Name, ...]:
        """Before it starts, its network exists, and what it depends on is ready."""
        space = f"node {self.netns.rpartition('/')[2]}"
        network = (f"address {space}", f"route {space} main", f"sysctl {space}", "port host", "file")
        return (
            *(Name("container", name) for name in self.depends_on),
            *(name for link in self.uses for name in (Name(HOST, link), Name(f"port {HOST}", link))),
            *(Name(kind, EVERY) for kind in network),
        )

    @property
    def within(self) -> tuple[Name, ...]:
        return ()

    @property
    def restarts(self) -> bool:
        """True: deleting or replacing it ends a program."""
        return True

    @property
    def public(self) -> Self:
        """Without what may hold secrets: for those who are not root."""
        return self._replace(env=(), files=())

    def is_satisfied_by(self, found: Self) -> bool:
        """One that had ended is also satisfied by a running one: nobody wants that stopped."""
        return self.state == ENDED and found._replace(state=ENDED) == self

    def create(self) -> list[Op]:
        return self._reach(STOPPED)

    def update(self, before: Self) -> list[Op]:
        change: list[Op] = (
            [ChangeContainer(self.name, self)] if self._replace(state=before.state) != before else []
        )
        return change + self._reach(before.state) if self.state != before.state else change

    def _reach(self, state: str) -> list[Op]:
        """The steps from that state to its own."""
        if self.state in _DOWN:
            return [HaltContainer(self.name, self)]
        start: list[Op] = [StartContainer(self.name, self)] if state in _DOWN else []
        if PAUSED in (state, self.state):
            start.append(PauseContainer(self.name, self.state == PAUSED))
        return start

    def delete(self) -> list[Op]:
        return [StopContainer(self.name)]

    @classmethod
    def read(cls, dump: Dump) -> Iterator[Self]:
        yield from dump.containers

    @classmethod
    def unsettled(cls, dump: Dump) -> Iterator[Name]:
        return iter(())

    def differs_from(self, before: Self) -> Iterator[str]:
        """The differences, for people. Of variables, which may be secrets, only the names."""
        if self.argv != before.argv:
            yield changed("command", " ".join(before.argv), " ".join(self.argv))
        if variables := {name for name, _ in {*self.env} ^ {*before.env}}:
            yield f"env {' '.join(sorted(variables))}"
        if self.memory != before.memory:
            yield changed("memory", _in_mebibytes(before.memory), _in_mebibytes(self.memory))
        yield from fields(before._replace(argv=self.argv, env=self.env, memory=self.memory), self)

    def __str__(self) -> str:
        return f"container {self.name}"


def _in_mebibytes(size: int | None) -> str:
    return "unlimited" if size is None else f"{size / (1 << 20):g}m"
