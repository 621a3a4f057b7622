"""Every way netfab can fail, as one tree.

An error is raised where the fact is known and carries its facts; it is shown in one place (cli/failures.py).
"""

from __future__ import annotations

from collections.abc import Iterable

from netfab import TYPE_CHECKING
from netfab.tuples import NamedTuple

if TYPE_CHECKING:
    from typing import Any


class Location(NamedTuple):
    """A place in a topology file. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    path: str  # the path of keys: networks.front.subnet

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class NetfabError(Exception):
    """What the user is told: one sentence, the place in the file, and a hint at what would be right."""

    def __init__(self, message: str, *, at: Location | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.at = at
        self.hint = hint
        self.undone = False  # whether the changes made so far have been undone

    def __str__(self) -> str:
        if self.at is None:
            return self.message
        return f"{self.at}: {self.at.path}: {self.message}" if self.at.path else f"{self.at}: {self.message}"


class Several(NetfabError):
    """Several errors at once: those of a file are reported together."""

    def __init__(self, errors: Iterable[NetfabError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(str(error) for error in self.errors))


class NoSuchFabric(NetfabError):
    """A fabric that this host does not have, or no longer has."""


class NotReached(NetfabError):
    """Some hosts of a fabric were not reached; `found` is what the others answered."""

    def __init__(self, fabric: str, hosts: Iterable[str], found: Any = None) -> None:
        super().__init__(f"not reached: {', '.join(hosts)}, of fabric {fabric}; what is there is not known")
        self.found = found


class NotAll(Several):
    """Something failed for some; `done` names those for which it succeeded."""

    def __init__(self, errors: Iterable[NetfabError], done: Iterable[str]) -> None:
        super().__init__(errors)
        self.done = tuple(done)


def each_of(error: NetfabError) -> tuple[NetfabError, ...]:
    """The errors that it consists of, or itself."""
    return error.errors if isinstance(error, Several) else (error,)


def raise_rest(errors: Iterable[NetfabError], done: Iterable[str]) -> None:
    """Raise the errors collected while the rest went on: NotAll, or as raise_all does."""
    found, names = [one for error in errors for one in each_of(error)], tuple(done)
    if found and names:
        raise NotAll(found, names)
    raise_all(found)


def raise_all(errors: Iterable[NetfabError]) -> None:
    """Raise the collected errors: none, the single one, or Several."""
    found = tuple(errors)
    if len(found) == 1:
        raise found[0]
    if found:
        raise Several(found)


class TopologyError(NetfabError):
    """The topology file is invalid."""


class PlanError(NetfabError):
    """What the file asks for can't be planned on this host."""


class PortBusy(PlanError):
    """A port to be published is in use by another program."""

    def __init__(self, port: int | str, protocol: str, *, at: Location | None = None) -> None:
        super().__init__(
            f"port {port}/{protocol} of this host is in use by another program",
            at=at,
            hint=f"`ss -lnp 'sport = :{port}'` shows which",
        )


class SubnetTaken(PlanError):
    """A subnet overlaps a prefix that this host, or another fabric on it, already uses."""


class AddressTaken(PlanError):
    """An address that is written or leased for one node already belongs to another."""


class PoolExhausted(PlanError):
    """No pool has a free subnet (or no subnet a free address) of the size needed."""


class StoreError(NetfabError):
    """netfab's stored state can't be read or written."""


class StoreUnreachable(StoreError):
    """No member of the store that controllers share answers correctly."""


class LeaseConflict(StoreError):
    """Another process claimed an overlapping lease first; planning again finds another."""


class Locked(NetfabError):
    """Another command holds the fabric."""


class AppliedElsewhere(NetfabError):
    """A fabric of that name was applied from another file: a second checkout must not replace the first's."""

    def __init__(self, fabric: str, applied: str, file: str) -> None:
        super().__init__(
            f"fabric {fabric} was applied from {applied or 'no file'}, not from {file}",
            hint="--name NAME makes a second fabric of this file;"
            " --take-over means that this file replaces the other",
        )
        self.fabric = fabric


class ForeignObject(NetfabError):
    """A name that is needed belongs to something that netfab did not make."""


class KernelRefused(NetfabError):
    """The kernel refused a request. Carries the errno and the kernel's own words."""

    def __init__(self, doing: str, errno: int, reason: str, *, hint: str = "") -> None:
        from errno import errorcode
        from os import strerror

        name = errorcode.get(errno, str(errno))
        super().__init__(f"{doing}: {reason or strerror(errno)} ({name})", hint=hint)
        self.doing, self.errno, self.reason = doing, errno, reason


class ApplyFailed(NetfabError):
    """An apply that failed and was undone; if undoing failed too, the message says so."""


class UndoFailed(ApplyFailed):
    """An apply that failed, and whose undo failed as well: parts of both are left."""


class Interrupted(NetfabError):
    """A signal arrived; what had begun is undone. Carries its number."""

    def __init__(self, number: int) -> None:
        from signal import Signals

        super().__init__(f"interrupted by {Signals(number).name}")
        self.number = number


class NotRoot(NetfabError):
    """The command changes the kernel's network and needs root."""


class Unsupported(NetfabError):
    """This kernel, or this version of netfab, lacks what is asked for."""


class RuntimeFailed(NetfabError):
    """A fabric's supervisor can't be started or does not answer correctly."""


BECOME = "give up its rights"  # the step in which a program becomes its user
MOUNT = "mount"  # the step in which the host's paths are mounted
IDENTIFY = "find its user"  # the step in which the user's numbers are looked up
RUN = "run"  # the last step: the program itself


class ContainerFailed(NetfabError):
    """A container's program, or a command in a node, could not be started. Carries the step that failed."""

    def __init__(self, name: str, step: str, errno: int, path: str = "") -> None:
        from errno import EINVAL, EISDIR, ENOENT, ENOTDIR
        from os import strerror

        users = (
            "an ordinary user's lab has other users by newuidmap, and lines in /etc/subuid and /etc/subgid"
        )
        kinds = "a file is mounted onto a file, a directory onto a directory"
        names = "its /etc/passwd or /etc/group does not know that name; numbers need no entry"
        hints = {
            (BECOME, EINVAL): users,
            (MOUNT, ENOTDIR): kinds,
            (MOUNT, EISDIR): kinds,
            (MOUNT, ENOENT): "the source of a mount must exist on the host; `mkdir -p` creates a directory",
            (IDENTIFY, EINVAL): names,
        }
        told = f"{name}: {step}{': ' + path if path else ''}: {strerror(errno)}"
        super().__init__(told, hint=hints.get((step, errno), ""))
        self.name, self.step, self.errno, self.path = name, step, errno, path

    @property
    def exit_code(self) -> int:
        """As in a shell: 127 for a program that does not exist, 126 for one that can't be run."""
        from errno import ENOENT

        return 127 if self.step == RUN and self.errno == ENOENT else 126


class NotReady(NetfabError):
    """A node did not become ready in time, or exited before. Carries its last lines of output."""

    def __init__(self, name: str, reason: str, lines: tuple[str, ...], hint: str = "") -> None:
        told = (f"{name} is not ready: {reason}", *(f"  {name} | {line}" for line in lines))
        super().__init__("\n".join(told), hint=hint)
        self.name, self.reason, self.lines = name, reason, lines


class NoAnswer(NetfabError):
    """A daemon is too slow, or its answer is invalid. Carries the HTTP status, 0 for none."""

    def __init__(self, path: str, reason: str, status: int = 0) -> None:
        super().__init__(f"{path} {reason}")
        self.path, self.reason, self.status = path, reason, status


class NoGuest(NetfabError):
    """A name matches no guest of this host, or several, or one that can't be entered."""


class UnknownGuest(NoGuest):
    """Every runtime that could know the guest was asked, and none does."""


class GuestGone(NetfabError):
    """A guest ended or was restarted since it was found."""

    def __init__(self, label: str) -> None:
        super().__init__(f"the guest went away: {label}", hint="start it, and try again")
        self.label = label
