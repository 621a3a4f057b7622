"""Make a host match a fabric: observe, diff, order, run, verify.

Undo is the same towards the state before. There is no list of what was done and no inverse of anything: after
a failure the host is read again, for a change whose first message worked and whose second failed is only seen
by looking.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from time import monotonic
from typing import Protocol

from netfab.engine.diff import Change, diff, order
from netfab.errors import (
    ApplyFailed,
    ForeignObject,
    Interrupted,
    KernelRefused,
    NetfabError,
    Several,
    UndoFailed,
    raise_all,
)
from netfab.objects.base import HOST, Fabric, Name, spaces_of
from netfab.tuples import NamedTuple

SETTLE = 30.0  # seconds that a link may take to carry traffic; a busy kernel is late (net/core/link_watch.c)


class Observed(NamedTuple):
    """What a host has: the fabric's own objects, who else holds which names, and what is not ready yet."""

    own: Fabric
    foreign: Mapping[Name, str]  # name -> its holder, in words
    unsettled: frozenset[Name] = frozenset()  # links that do not carry traffic yet
    leaning: Mapping[Name, str] = {}  # our names that others depend on -> what depends on them, in words
    gone: Mapping[Name, NetfabError] = {}  # what was known and can't be made again (guests) -> the error


class Host(Protocol):
    """A machine, real or simulated: the only door to effects."""

    def observe(self, name: str, known: Sequence[Fabric], spaces: Set[str] | None = None) -> Observed:
        """Read the fabric of that name.

        `known` names what can only be read one by one (sysctls). With `spaces`, only these are read; the rest
        is taken from the last observation, or only known to exist.
        """

    def prepare(self, changes: Sequence[Change]) -> None:
        """Do what is slow, invisible and repeatable: check features, pull, probe.

        Raises NetfabError before anything is changed.
        """

    def run(self, phase: Sequence[Change]) -> list[Exception | None]:
        """Carry out a phase; what each change failed with."""

    def wait(self, seconds: float, links: Set[Name]) -> None:
        """Wait until these may be ready, at most that long."""


class Applied(NamedTuple):
    """What an apply did: the state before and the changes, in the order in which they were made."""

    before: Fabric
    changes: tuple[Change, ...]


Progress = Callable[[int, int, str], None]  # done, all, what is next


def no_progress(done: int, total: int, what: str) -> None:
    """Shows nothing."""


def changes_for(desired: Fabric, observed: Observed) -> tuple[Change, ...]:
    """What apply would do, in order. Raises as phases_for does."""
    return tuple(change for phase in phases_for(desired, observed) for change in phase)


def phases_for(desired: Fabric, observed: Observed, force: bool = False) -> tuple[tuple[Change, ...], ...]:
    """What apply would do, by phases.

    Raises ForeignObject, for all at once, if a name that must be made is held by somebody else, or if
    something of somebody else's depends on what must be deleted, unless `force` is given.
    """
    changes = diff(desired, observed.own)
    held = [
        (change, name)
        for change in changes
        if change.before is None
        for name in change.after.names
        if name in observed.foreign
    ]
    if held:
        freed = {name for change in changes if change.after is None for name in change.before.names}
        raise_all(
            ForeignObject(
                f"can't create {change.after}: {name} is {observed.foreign[name]}",
                hint="netfab changes nothing that it did not make;"
                f" choose another name, or remove {name} yourself",
            )
            for change, name in held
            if name not in freed
        )
    raise_all(
        ForeignObject(
            f"can't delete {change.before}, which others use: {observed.leaning[name]}",
            hint="`netfab detach` takes away what `netfab attachments` lists,"
            " `netfab rm` what `netfab run` made; `netfab destroy --force` does it anyway",
        )
        for change in (changes if observed.leaning and not force else ())
        if change.after is None
        for name in change.before.names
        if name in observed.leaning
    )
    return tuple(order(changes))


def apply(
    desired: Fabric,
    host: Host,
    known: Sequence[Fabric] = (),
    progress: Progress = no_progress,
    back: Callable[[], Fabric] | None = None,
    force: bool = False,
) -> Applied:
    """Make `host` match `desired`, and read it back.

    The empty set is applied without reading the namespaces that end; `back` then says what to restore on a
    failure, which is otherwise what was there. `force`: even if others depend on what ends. Raises
    NetfabError when nothing was changed, ApplyFailed when the changes were undone or could not be.
    """
    observed = host.observe(desired.name, (desired, *known), None if desired or back is None else {HOST})
    before = observed.own
    phases = phases_for(desired, observed, force)
    if not phases:
        settle(desired, host, observed)
        return Applied(before, ())
    changes = tuple(change for phase in phases for change in phase)
    host.prepare(changes)
    try:
        run(phases, host, progress)
        verify(desired, host, changes)
    except BaseException as failure:
        gone = undo(before if back is None else back(), host, (desired, *known), failure)
        if isinstance(failure, NetfabError):
            failure.undone = True
            if not isinstance(failure, Interrupted):
                _raise_for_what_went_away(desired, gone, failure)
        raise
    return Applied(before, changes)


def _raise_for_what_went_away(
    desired: Fabric, gone: Mapping[Name, NetfabError], failure: NetfabError
) -> None:
    """Raise the root cause in place of the errors that followed from it."""
    reasons = [reason for name, reason in gone.items() if name in desired]
    if reasons:
        told = reasons[0] if len(reasons) == 1 else Several(reasons)
        told.undone = failure.undone
        raise told from failure


def run(phases: Sequence[Sequence[Change]], host: Host, progress: Progress = no_progress) -> None:
    """Carry out changes phase by phase. Raises the errors of the first phase that fails."""
    done, total = 0, sum(map(len, phases))
    for phase in phases:
        progress(done, total, str(phase[0].object))
        failures = zip(phase, host.run(phase), strict=True)
        raise_all(_explained(change, error) for change, error in failures if error is not None)
        done += len(phase)
    progress(done, total, "")


def _explained(change: Change, error: Exception) -> NetfabError:
    """The error in the terms of the plan."""
    if isinstance(error, NetfabError):
        return error
    doing = f"{change.action} {change.object}"
    if isinstance(error, OSError) and error.errno:
        where = f"{error.filename}: " if error.filename else ""
        return KernelRefused(doing, error.errno, f"{where}{error.strerror}")
    return NetfabError(f"{doing}: {error}")


def verify(desired: Fabric, host: Host, changes: Sequence[Change]) -> None:
    """Read back every space that a change named, and compare; then wait until all of it carries traffic.

    For the empty fabric everything is read: little is left.
    """
    changed = (thing for change in changes for thing in (change.before, change.after) if thing is not None)
    spaces = {HOST, *spaces_of(*changed)} if desired else None
    observed = host.observe(desired.name, (desired,), spaces)
    compare(desired, observed)
    settle(desired, host, observed)


def compare(desired: Fabric, observed: Observed) -> None:
    """Raises ApplyFailed when the host does not match."""
    if left := diff(desired, observed.own):
        told = "; ".join(f"{change.action} {change.object} {change.why}".rstrip() for change in left[:5])
        more = f" and {len(left) - 5} more" if len(left) > 5 else ""
        raise ApplyFailed(f"the kernel does not show what was applied: {told}{more}")


def settle(desired: Fabric, host: Host, observed: Observed) -> None:
    """Wait for what exists but is not ready yet.

    Raises ApplyFailed if it takes too long, or changes meanwhile.
    """
    deadline = monotonic() + SETTLE
    while waiting := _waiting(desired, observed):
        if monotonic() > deadline:
            raise ApplyFailed(f"not ready after {SETTLE:.0f} s: {', '.join(map(str, sorted(waiting)))}")
        host.wait(deadline - monotonic(), waiting)
        observed = _read_again(desired, host, {link.space for link in waiting})


def _read_again(desired: Fabric, host: Host, spaces: Set[str]) -> Observed:
    """Read those spaces; the host first, which is one dump: both ends of a cable become ready together."""
    for those in filter(None, (spaces & {HOST}, spaces - {HOST})):
        observed = host.observe(desired.name, (desired,), those)
        compare(desired, observed)
        if any(link.space == HOST for link in _waiting(desired, observed)):
            break
    return observed


def _waiting(desired: Fabric, observed: Observed) -> frozenset[Name]:
    if not observed.unsettled:
        return observed.unsettled
    return observed.unsettled.intersection(name for thing in desired.values() for name in thing.names)


def undo(
    before: Fabric, host: Host, known: Sequence[Fabric], failure: BaseException
) -> Mapping[Name, NetfabError]:
    """Restore the state before, except for what went away meanwhile, which is returned.

    Raises UndoFailed, from `failure`, if that fails too.
    """
    try:
        now = host.observe(before.name, (before, *known))
        left = before.without(now.gone) if now.gone else before
        changes = diff(left, now.own)
        run(tuple(order(changes)), host)
        verify(left, host, changes)
        return now.gone
    except Exception as second:  # whatever it is: both failures have to be reported
        raise UndoFailed(
            f"{failure}; and undoing it failed: {second}",
            hint="run `netfab apply` again, or `netfab destroy`: both start from what is there now",
        ) from failure
